"""Which feature sets and which of their rows go together: the pairs that are ranked and aligned."""
