"""RBF CKA: centred kernel alignment with a Gaussian kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from structure.pipeline.similarity.cka import Cka


@dataclass(frozen=True)
class RbfCka(Cka):
    """CKA of the kernel exp(-|x - y|^2 / (2 sigma^2)), sigma 1 as in the public code of platonic-rep."""

    sigma: float = 1.0

    notation: ClassVar[str] = "RBF CKA"
    meaning: ClassVar[str] = "CKA with a Gaussian kernel, in which close samples count most"

    @property
    def kernel_width(self) -> float:
        return self.sigma
