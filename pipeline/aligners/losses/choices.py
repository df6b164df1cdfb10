"""The named choices of the losses; nothing is imported, so that options can be checked before torch is loaded."""

from __future__ import annotations

from typing import Literal

Centring = Literal["mean", "none", "standard"]
"""What R_S subtracts from the rows before their similarities: their mean, nothing, or mean and divided by spread."""

Similarity = Literal["cosine", "rbf", "spearman"]
"""What R_S compares rows by; spearman has no gradient."""

Divergence = Literal["js", "released"]
"""Jensen-Shannon, or with the arguments swapped as in the released code."""

Weighting = Literal["inverse", "uniform"]
"""Weights of the levels of R_S: 1 / level, or all the same."""

Information = Literal["flqmi", "flvmi", "gcmi", "logdetmi"]
"""Submodular mutual information of two sets."""

Ground = Literal["all", "views"]
"""The ground set of flvmi."""
