"""The Hilbert-Schmidt independence criterion of two kernels, from sums that can be streamed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from structure.pipeline.similarity.knn.unit_rows import RowSlices, read

_ROWS = 2048


@dataclass(frozen=True)
class Joint:
    """Sums over two kernel matrices K and L of the same `m` rows; a = K 1, b = L 1 (row sums), c = diag K, d = diag L.

    `biased` is tr(K H L H), kept apart because features centred first lose fewer digits.
    """

    m: int
    inner: float
    ab: float
    ad: float
    cb: float
    cd: float
    a: float
    b: float
    c: float
    d: float
    biased: float

    @property
    def unbiased(self) -> float:
        """Song et al., "Feature Selection via Dependence Maximization", JMLR 13, 2012, eq. 5: diagonals zeroed."""
        m = self.m
        inner = self.inner - self.cd
        rows = self.ab - self.ad - self.cb + self.cd
        whole = (self.a - self.c) * (self.b - self.d)
        return (inner + whole / ((m - 1) * (m - 2)) - 2.0 * rows / (m - 2)) / (m * (m - 3))


Pair = tuple[int, int]


def quotient(cross: float, first: float, second: float, eps: float) -> float:
    """cross / (sqrt(first second) + eps); NaN where that is undefined."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.float64(cross) / (np.sqrt(np.float64(first) * np.float64(second)) + eps))


def unit_rows(layer: RowSlices, start: int, stop: int, *, normalise: bool) -> np.ndarray:
    """Rows `[start, stop)` as float64, divided by their norms (zero rows stay zero) unless `normalise` is False."""
    if not normalise:
        part = layer[start:stop]
        part = part.detach().to("cpu").double().numpy() if hasattr(part, "detach") else part
        return np.asarray(part, dtype=np.float64)
    rows = read(layer, start, stop).astype(np.float64)
    norm = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    return np.asarray(np.divide(rows, norm, out=np.zeros_like(rows), where=norm > 0))


def linear_sums(
    layers: Sequence[RowSlices], pairs: Sequence[Pair], *, normalise: bool, memory: int
) -> dict[Pair, Joint]:
    """Sums of linear kernels from cross moments, one pass over the rows while the moments of all pairs fit `memory`
    bytes.

    With X~ = [X, 1, diag K], every sum that `Joint` needs is in X~^T Y~ (width x width): cost rows x width^2 a pair,
    any rows.
    """
    rows = int(layers[0].shape[0])
    widths = [int(layer.shape[1]) + 2 for layer in layers]
    joints: dict[Pair, Joint] = {}
    for group in _groups(pairs, [8 * widths[i] * widths[j] for i, j in pairs], memory):
        moments = {(i, j): np.zeros((widths[i], widths[j])) for i, j in group}
        for start in range(0, rows, _ROWS):
            wide: dict[int, np.ndarray] = {}
            for i in sorted({side for pair in group for side in pair}):
                x = unit_rows(layers[i], start, min(start + _ROWS, rows), normalise=normalise)
                wide[i] = np.concatenate([x, np.ones((len(x), 1)), np.einsum("ij,ij->i", x, x)[:, None]], axis=1)
            for (i, j), moment in moments.items():
                moment += wide[i].T @ wide[j]
        joints |= {pair: _of_moments(moment, rows) for pair, moment in moments.items()}
    return joints


def _groups(pairs: Sequence[Pair], sizes: Sequence[int], memory: int) -> Iterator[list[Pair]]:
    group: list[Pair] = []
    held = 0
    for pair, size in zip(pairs, sizes, strict=True):
        if group and held + size > memory:
            yield group
            group, held = [], 0
        group.append(pair)
        held += size
    yield group


def _of_moments(moment: np.ndarray, m: int) -> Joint:
    cross, x_one, x_diag = moment[:-2, :-2], moment[:-2, -2], moment[:-2, -1]
    one_y, diag_y = moment[-2, :-2], moment[-1, :-2]
    centred = cross - np.outer(x_one, one_y) / m
    return Joint(
        m=m,
        inner=float((cross * cross).sum()),
        ab=float(x_one @ cross @ one_y),
        ad=float(x_one @ x_diag),
        cb=float(diag_y @ one_y),
        cd=float(moment[-1, -1]),
        a=float(x_one @ x_one),
        b=float(one_y @ one_y),
        c=float(moment[-1, -2]),
        d=float(moment[-2, -1]),
        biased=float((centred * centred).sum()),
    )


def gram_sums(
    layers: Sequence[RowSlices], pairs: Sequence[Pair], *, normalise: bool, memory: int, sigma: float | None
) -> dict[Pair, Joint]:
    """Sums of kernel matrices taken band by band, never whole: linear kernels, or exp(-|x - y|^2 / (2 sigma^2)).

    Cost rows^2 x width a layer and rows^2 a pair; all layers are held, as float64, while their bands are multiplied.
    """
    rows = int(layers[0].shape[0])
    count = len(layers)
    values = [unit_rows(layer, 0, rows, normalise=normalise) for layer in layers]
    squares = [np.einsum("ij,ij->i", x, x) for x in values]
    diagonal = np.ones((count, rows)) if sigma is not None else np.stack(squares)
    inner = np.zeros((count, count))
    sums = np.empty((count, rows))
    height = int(min(rows, max(1, memory // (16 * count * rows))))
    tiles = np.empty((count, height * rows))
    for start in range(0, rows, height):
        stop = min(start + height, rows)
        band = tiles[:, : (stop - start) * rows]
        for i, x in enumerate(values):
            tile = band[i].reshape(stop - start, rows)
            np.matmul(x[start:stop], x.T, out=tile)
            if sigma is not None:
                distance = np.maximum(squares[i][start:stop, None] + squares[i] - 2.0 * tile, 0.0)
                np.exp(distance / (-2.0 * sigma * sigma), out=tile)
                tile[np.arange(stop - start), np.arange(start, stop)] = 1.0
            sums[i, start:stop] = tile.sum(axis=1)
        inner += band @ band.T
    joints = {}
    for i, j in pairs:
        a, b, c, d = sums[i], sums[j], diagonal[i], diagonal[j]
        biased = inner[i, j] - 2.0 * (a @ b) / rows + a.sum() * b.sum() / rows**2
        parts = (inner[i, j], a @ b, a @ d, c @ b, c @ d, a.sum(), b.sum(), c.sum(), d.sum(), biased)
        joints[i, j] = Joint(rows, *map(float, parts))
    return joints
