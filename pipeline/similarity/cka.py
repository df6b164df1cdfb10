"""Centred kernel alignment of all layer pairs: linear or RBF, biased or unbiased."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from structure.pipeline.similarity.hsic import Pair, gram_sums, linear_sums, quotient, unit_rows
from structure.pipeline.similarity.knn.unit_rows import RowSlices
from structure.pipeline.similarity.metric import SimilarityMetric
from structure.store.errors import StructureError


def cka(
    vision: Sequence[RowSlices],
    text: Sequence[RowSlices],
    *,
    unbiased: bool = False,
    sigma: float | None = None,
    eps: float = 1e-6,
    normalise: bool = True,
    memory: int = 1 << 30,
) -> np.ndarray:
    """`(Lv, Lt)` float64: HSIC(K, L) / (sqrt(HSIC(K, K) HSIC(L, L)) + eps).

    Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019, eq. 3-4; `unbiased` takes
    Song et al.'s estimator (may be slightly negative). `sigma` None is the linear kernel, otherwise exp(-|x - y|^2 /
    (2 sigma^2)). `eps` 1e-6 is the public platonic-rep code, 0 the exact quotient (NaN for a constant layer). Rows
    are L2-normalised unless `normalise` is False. Linear CKA streams cross moments or Gram bands, whichever costs
    less.
    """
    layers = [*vision, *text]
    rows = int(layers[0].shape[0])
    if rows < 4:
        raise StructureError(
            f"CKA needs at least 4 rows, there are {rows}: its estimator divides by m(m - 3). Extract more rows."
        )
    across = [(i, len(vision) + j) for i in range(len(vision)) for j in range(len(text))]
    pairs = across + [(i, i) for i in range(len(layers))]
    if sigma is not None or _gram_is_cheaper(layers, pairs, rows, memory):
        sums = gram_sums(layers, pairs, normalise=normalise, memory=memory, sigma=sigma)
    else:
        sums = linear_sums(layers, pairs, normalise=normalise, memory=memory)
    hsic = {pair: joint.unbiased if unbiased else joint.biased for pair, joint in sums.items()}
    scores = np.array([quotient(hsic[i, j], hsic[i, i], hsic[j, j], eps) for i, j in across])
    return scores.reshape(len(vision), len(text))


def _gram_is_cheaper(layers: Sequence[RowSlices], pairs: Sequence[Pair], rows: int, memory: int) -> bool:
    widths = [int(layer.shape[1]) for layer in layers]
    moments = rows * sum(widths[i] * widths[j] for i, j in pairs)
    grams = rows * rows * (sum(widths) + len(layers) ** 2)
    return grams < moments and 8 * rows * sum(widths) <= memory


@dataclass(frozen=True)
class Cka(SimilarityMetric):
    """Linear CKA (`cka`), and the base of its variants.

    Permuted scores come from whole centred kernels in float32, (Lv + Lt) rows^2 numbers: that is why no permutation is
    drawn unless asked for. A permuted kernel is P L P^T, so only the inner products change: biased tr(HKH PLP^T);
    unbiased the inner product of U-centred kernels over m(m - 3) (Szekely and Rizzo, "Partial distance correlation",
    Ann. Stat. 42, 2014, eq. 3.1). Options: `eps` and `normalise`, as of `cka`.
    """

    eps: float = 1e-6
    normalise: bool = True

    needs_rows: ClassVar[bool] = True
    permutations: ClassVar[int] = 0
    notation: ClassVar[str] = "CKA"
    meaning: ClassVar[str] = "centred kernel alignment: correlation of all cosines of one layer with those of the other"
    unbiased: ClassVar[bool] = False

    @property
    def kernel_width(self) -> float | None:
        """sigma of an RBF kernel; None for the linear kernel."""
        return None

    @property
    def rows(self) -> int:
        return int(self.layers.vision[0].shape[0])

    def scores(self, permutation: np.ndarray | None = None) -> np.ndarray:
        if permutation is None:
            return cka(
                self.layers.vision,
                self.layers.text,
                unbiased=self.unbiased,
                sigma=self.kernel_width,
                eps=self.eps,
                normalise=self.normalise,
                memory=self.layers.memory,
            )
        kernels, count = self._kernels, len(self.layers.vision)
        vision, text = kernels[:count], kernels[count:]
        height = max(1, (32 << 20) // (4 * self.rows * count))
        cross = np.zeros((len(vision), len(text)))
        for start in range(0, self.rows, height):
            band = permutation[start : start + height]
            moved = np.stack([kernel[band][:, permutation].ravel() for kernel in vision])
            cross += moved @ text[:, start : start + height].reshape(len(text), -1).T
        scale = np.sqrt(np.outer(self._norms[:count], self._norms[count:])) + self.eps
        return np.divide(cross, scale, out=np.zeros_like(cross), where=scale > 0)

    def kernel_bytes(self) -> int:
        """What a permutation test holds in memory."""
        return 4 * self.rows**2 * len(self._both_sides)

    @property
    def _both_sides(self) -> list[RowSlices]:
        return [*self.layers.vision, *self.layers.text]

    @cached_property
    def _kernels(self) -> np.ndarray:
        memory, layers = self.layers.memory, self._both_sides
        if self.kernel_bytes() > memory:
            most = math.isqrt(memory // (4 * len(layers)))
            raise StructureError(
                f"A permutation test of CKA holds every kernel: {self.kernel_bytes():,} bytes for {self.rows:,} rows, "
                f"and --memory allows {memory:,}. Pass --samples {most} or fewer, more --memory, or --calibrate 0."
            )
        kernels = np.empty((len(layers), self.rows, self.rows), np.float32)
        for kernel, layer in zip(kernels, layers, strict=True):
            kernel[:] = self._centred(unit_rows(layer, 0, self.rows, normalise=self.normalise))
        return kernels

    @cached_property
    def _norms(self) -> np.ndarray:
        flat = self._kernels.reshape(len(self._kernels), -1)
        return np.array([max(float(row @ row), 0.0) for row in flat])

    def _centred(self, x: np.ndarray) -> np.ndarray:
        m, sigma = self.rows, self.kernel_width
        kernel = x @ x.T
        if sigma is not None:
            square = np.diag(kernel)
            kernel = np.exp(np.maximum(square[:, None] + square - 2.0 * kernel, 0.0) / (-2.0 * sigma**2))
        if self.unbiased:
            np.fill_diagonal(kernel, 0.0)
        lost = 2 if self.unbiased else 0
        sums, whole = kernel.sum(axis=1), kernel.sum()
        kernel -= sums[:, None] / (m - lost) + sums / (m - lost)
        kernel += whole / ((m - 1) * (m - 2) if self.unbiased else m * m)
        if self.unbiased:
            np.fill_diagonal(kernel, 0.0)
            kernel /= math.sqrt(m * (m - 3))
        return np.asarray(kernel)
