"""Metrics of retrieval, image to text and text to image."""
