"""Exact k-nearest neighbours of the rows of a layer, without a rows x rows array."""
