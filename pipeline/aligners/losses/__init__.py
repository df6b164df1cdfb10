"""Losses: contrastive, the STRUCTURE regulariser R_S, and submodular information of sets."""
