"""Centred kernel alignment of all layer pairs: linear or RBF, biased or unbiased; and CKNNA, its local form."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from structure.pipeline.similarity.hsic import Pair, gram_sums, linear_sums, unit_rows
from structure.pipeline.similarity.rows import RowSource
from structure.store.errors import StructureError


def cka(
    vision: Sequence[RowSource],
    text: Sequence[RowSource],
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
    scores = np.array([_quotient(hsic[i, j], hsic[i, i], hsic[j, j], eps) for i, j in across])
    return scores.reshape(len(vision), len(text))


def _gram_is_cheaper(layers: Sequence[RowSource], pairs: Sequence[Pair], rows: int, memory: int) -> bool:
    widths = [int(layer.shape[1]) for layer in layers]
    moments = rows * sum(widths[i] * widths[j] for i, j in pairs)
    grams = rows * rows * (sum(widths) + len(layers) ** 2)
    return grams < moments and 8 * rows * sum(widths) <= memory


def _quotient(cross: float, first: float, second: float, eps: float) -> float:
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.float64(cross) / (np.sqrt(np.float64(first) * np.float64(second)) + eps))


def cknna(
    vision: Sequence[RowSource],
    text: Sequence[RowSource],
    tables: tuple[np.ndarray, np.ndarray],
    *,
    eps: float = 1e-6,
) -> np.ndarray:
    """`(Lv, Lt)` float64: unbiased CKA of cosines kept only where both k-nearest-neighbour graphs have the (directed)
    edge.

    Huh et al. 2024, appendix A. `tables` are the `(layers, rows, k)` neighbours of both sides, k >= 2; the two self
    terms use their own graph. Everything is sparse: rows x k entries a layer.
    """
    rows, k = tables[0].shape[1:]
    if k < 2 or rows < 4:
        raise StructureError(
            f"CKNNA needs k >= 2 and at least 4 rows; this has k = {k} and {rows} rows. Pass --k 2 or more."
        )
    ours = [_edges(layer, table) for layer, table in zip(vision, tables[0], strict=True)]
    theirs = [_edges(layer, table) for layer, table in zip(text, tables[1], strict=True)]
    self_v = [_masked_hsic(values, values, keys, rows) for keys, values in ours]
    self_t = [_masked_hsic(values, values, keys, rows) for keys, values in theirs]
    scores = np.empty((len(ours), len(theirs)))
    for i, (a, x) in enumerate(ours):
        for j, (b, y) in enumerate(theirs):
            place = np.minimum(np.searchsorted(b, a), len(b) - 1)
            both = b[place] == a
            scores[i, j] = _quotient(_masked_hsic(x[both], y[place[both]], a[both], rows), self_v[i], self_t[j], eps)
    return scores


def _edges(layer: RowSource, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A graph's edges as sorted keys row * rows + column, and their cosines."""
    rows, k = table.shape
    x = unit_rows(layer, 0, rows, normalise=True)
    keys = np.sort(np.arange(rows, dtype=np.int64)[:, None] * rows + table, axis=1)
    values = np.empty((rows, k))
    for start in range(0, rows, 256):
        columns = keys[start : start + 256] % rows
        values[start : start + 256] = np.einsum("id,ijd->ij", x[start : start + 256], x[columns])
    return keys.ravel(), values.ravel()


def _masked_hsic(x: np.ndarray, y: np.ndarray, keys: np.ndarray, m: int) -> float:
    """Song et al.'s estimator of two directed sparse matrices with the same edges, zero elsewhere and on the diagonal.

    Not symmetric: sum K * L^T pairs an edge with its reverse, and 1^T K L 1 takes column sums of K, row sums of L.
    """
    row, column = keys // m, keys % m
    reverse = column * m + row
    place = np.minimum(np.searchsorted(keys, reverse), max(len(keys) - 1, 0))
    back = keys[place] == reverse if len(keys) else np.zeros(0, bool)
    inner = float((x[back] * y[place[back]]).sum())
    through = float(np.bincount(column, x, m) @ np.bincount(row, y, m))
    whole = float(x.sum() * y.sum())
    return (inner + whole / ((m - 1) * (m - 2)) - 2.0 * through / (m - 2)) / (m * (m - 3))
