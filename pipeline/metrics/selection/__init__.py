"""Metrics of choosing captions and images within small groups."""
