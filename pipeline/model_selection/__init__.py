"""Which method, options and layers suit the training pairs: cross-validation with successive halving."""
