"""From samples to stored rows: the sample index of a dataset, the plan of an extraction, and the loop that fills it."""
