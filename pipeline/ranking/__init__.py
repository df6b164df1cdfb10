"""Ranking the layers of feature sets in the store, with neighbour tables that are computed once."""
