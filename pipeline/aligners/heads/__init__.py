"""Alignment heads: light maps from a frozen layer to the shared space."""
