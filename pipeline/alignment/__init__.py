"""Training of aligners on pairs in the store: what a run reads, which run it is, what it takes, and the run itself."""
