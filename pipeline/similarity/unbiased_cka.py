"""Unbiased CKA: linear CKA without the bias that few rows and wide layers give."""

from __future__ import annotations

from typing import ClassVar

from structure.pipeline.similarity.cka import Cka


class UnbiasedCka(Cka):
    """Linear CKA with Song et al.'s estimator of HSIC (JMLR 13, 2012, eq. 5); may be slightly negative."""

    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    notation: ClassVar[str] = "unbiased CKA"
    meaning: ClassVar[str] = "CKA without the bias that few samples and wide layers give; about 0 for unrelated layers"
    unbiased: ClassVar[bool] = True
