"""From items to stored rows: the row table of a dataset, the plan of an extraction, and the loop that fills it."""
