"""Unbiased RBF CKA: CKA with a Gaussian kernel and the unbiased estimator."""

from __future__ import annotations

from typing import ClassVar

from structure.pipeline.similarity.rbf_cka import RbfCka


class UnbiasedRbfCka(RbfCka):
    """`RbfCka` with the estimator of `UnbiasedCka`; may be slightly negative."""

    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    notation: ClassVar[str] = "unbiased RBF CKA"
    meaning: ClassVar[str] = "CKA with a Gaussian kernel, without the bias that few samples give"
    unbiased: ClassVar[bool] = True
