"""Recall over the number of training pairs, for several methods on the same pairs."""
