"""The rows of one layer, read by slices and made ready for cosines: norms, the common mean, repeated rows.

A cosine is a product of unit rows u. Layers are often narrow cones, where all cosines are close to 1 and low
precision sees no difference. So products are taken of centred rows c = u - m, for any vector m close to the mean of
u:

    u_i . u_j = c_i . c_j + h_i + h_j + |m|^2        with h = m . c

which holds exactly whatever m is, and rounds in proportion to |c_i||c_j|, not to 1.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from structure.pipeline.similarity.knn.search_plan import plan_search
from structure.store.errors import StructureError

_SURVEY = 512
"""Rows handled at once when norms are taken: small enough for a core's own cache."""

_READ = 8192
"""Rows that are read at once."""

_GAP = 1024
"""Rows between two that are wanted, from which on they are read apart."""


class RowSlices(Protocol):
    """Anything with a `(rows, width)` shape whose slices give arrays: NumPy, torch, zarr, dask, h5py, a store's
    layer."""

    @property
    def shape(self) -> Any: ...

    def __getitem__(self, key: slice, /) -> Any: ...


def read(source: RowSlices, start: int, stop: int) -> np.ndarray:
    """Rows `[start, stop)` as a C-contiguous `(rows, width)` array, float16 or float32 where that is exact, else
    float64.

    float64 rows are multiplied by a power of two (exact) so that the largest entry lies in [0.5, 1): squares of very
    large or very small values neither overflow nor vanish, and no cosine changes.
    """
    part: Any = source[start:stop]
    if isinstance(part, torch.Tensor):
        part = part.detach()
        wide = part.dtype == torch.float64 or not part.dtype.is_floating_point
        part = part.to("cpu", torch.float64 if wide else torch.float32).numpy()
    part = np.asarray(part)
    if part.dtype in (np.float32, np.float16):
        return np.ascontiguousarray(part)
    rows = np.ascontiguousarray(part, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        _, exponent = np.frexp(np.abs(rows).max(axis=1, keepdims=True, initial=0.0))
    return np.asarray(np.ldexp(rows, -exponent))


def shape_of(source: RowSlices, name: str) -> tuple[int, int]:
    """`(rows, width)` of a source; raises StructureError where it is not two-dimensional or has no column."""
    shape = tuple(int(size) for size in source.shape)
    if len(shape) != 2 or shape[1] == 0:
        raise StructureError(
            f"Layer {name} has shape {shape}; similarity needs (rows, width) with at least one column. "
            "Pool tokens to one vector a row first (extract --pool mean)."
        )
    return shape[0], shape[1]


def check_finite(values: np.ndarray, start: int, name: str) -> None:
    """Raise StructureError that names layer and row if a `(rows, width)` block that begins at row `start` is not
    finite."""
    bad = ~np.isfinite(values)
    if bad.any():
        row, column = (int(axis[0]) for axis in np.nonzero(bad))
        raise StructureError(
            f"Layer {name} holds {values[row, column]} at row {start + row}, column {column}: no cosine is defined "
            f"there, and every score would be wrong. {int(bad.any(axis=1).sum())} row(s) of this block are affected; "
            "extract them again with --dtype fp32, or leave the layer out with --layers."
        )


@dataclass(frozen=True)
class Block:
    """Rows `[start, stop)` of the rows that can be a neighbour.

    `inverse` (rows,) float64 = 1/norm, 0 for a zero row; `centred` (rows, width) float32 = c; `radius` (rows,) float64
    = |c|; `tilt` (rows,) float64 = h = m . c; `shift` = |m|^2.
    """

    start: int
    stop: int
    inverse: np.ndarray
    centred: torch.Tensor
    radius: np.ndarray
    tilt: np.ndarray
    shift: float

    @property
    def half(self) -> np.ndarray:
        """`(rows,)` float64: what a row adds to its distances, 1 - u_i . u_j = half_i + half_j - c_i . c_j."""
        return (1.0 - self.shift) / 2 - self.tilt


class UnitRows:
    """One layer surveyed once: norms, mean direction, and which rows repeat an earlier one.

    `norms` (rows,) float64. `leader` (rows,) int64: the first row with the same values (itself where none).
    `eligible` (n,) int64: rows that can be among the `k` nearest of another; of identical rows the first k + 1 can.
    Blocks partition `eligible`; there is one, held in memory, where `plan` says that `memory` bytes suffice.
    """

    def __init__(self, source: RowSlices, *, k: int, memory: int, name: str) -> None:
        self.source, self.name = source, name
        self.rows, self.width = shape_of(source, name)
        self.norms = np.empty(self.rows)
        total = np.zeros(self.width)
        itemsize = 4
        for start, values in self._slices():
            itemsize = values.itemsize
            for first in range(0, len(values), _SURVEY):
                part = values[first : first + _SURVEY].astype(np.float64)
                norm = np.sqrt(np.einsum("ij,ij->i", part, part))
                if not np.isfinite(norm).all():
                    check_finite(values, start, name)
                self.norms[start + first : start + first + len(part)] = norm
                total += _inverse(norm) @ part
        self.mean = total / max(self.rows, 1)
        self.leader = self._leaders()
        self.eligible = self._first_copies(k + 1)
        self.plan = plan_search(len(self.eligible), self.width, itemsize, k=k + 1, memory=memory)
        self.edges = [*range(0, len(self.eligible), max(self.plan.block_rows, 1)), len(self.eligible)]
        self._held: Block | None = None
        self._values: np.ndarray | None = None

    def _slices(self) -> Iterator[tuple[int, np.ndarray]]:
        step = max(_SURVEY, (32 << 20) // (8 * self.width) // _SURVEY * _SURVEY)
        for start in range(0, self.rows, step):
            yield start, read(self.source, start, min(start + step, self.rows))

    def _leaders(self) -> np.ndarray:
        """Identical rows have identical norms, so only rows whose norm repeats are compared."""
        leader = np.arange(self.rows)
        _, where, times = np.unique(self.norms, return_inverse=True, return_counts=True)
        suspect = times[where] > 1
        if not suspect.any():
            return leader
        seen: dict[bytes, int] = {}
        for start, values in self._slices():
            for offset in np.flatnonzero(suspect[start : start + len(values)]):
                digest = hashlib.blake2b((values[offset] + 0.0).tobytes(), digest_size=16).digest()
                leader[start + offset] = seen.setdefault(digest, start + int(offset))
        return leader

    def _first_copies(self, most: int) -> np.ndarray:
        order = np.argsort(self.leader, kind="stable")
        grouped = self.leader[order]
        begins = np.flatnonzero(np.r_[True, grouped[1:] != grouped[:-1]])
        copy = np.arange(self.rows) - np.repeat(begins, np.diff(np.r_[begins, self.rows]))
        return np.sort(order[copy < most])

    def is_constant(self) -> bool:
        """Whether all rows point the same way to within float32, so that neighbours carry no information.

        The CLS embedding before any attention is such a layer. Mean squared distance from the mean direction
        is 1 - |m|^2; a layer of zero rows counts too.
        """
        return bool((self.leader == 0).all()) or 1.0 - float(self.mean @ self.mean) <= 1e-10

    @property
    def is_held(self) -> bool:
        """Whether there is one block, which stays in memory."""
        return len(self.edges) == 2

    def blocks(self) -> Iterator[Block]:
        """Every block in order."""
        for start in self.edges[:-1]:
            yield self.block_at(start)

    def block_at(self, position: int) -> Block:
        """The block that holds a position among the eligible rows; the last one is held."""
        after = bisect_right(self.edges, position)
        start, stop = self.edges[after - 1], self.edges[after]
        if self._held is None or self._held.start != start:
            self._held = None
            self._held = self._block(start, stop)
        return self._held

    def values(self, positions: np.ndarray) -> np.ndarray:
        """`(len(positions), width)` as `read` gives them, of some eligible rows, ascending: from memory, or read
        again."""
        return np.concatenate([part for _, part in self._read(positions)])

    def _read(self, positions: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Stretches of `values`, and where among the positions each begins."""
        if self._values is None and self.plan.holds_values:
            self._values = read(self.source, 0, self.rows)
        ids = self.eligible[positions]
        for start in range(0, len(ids), _READ):
            part = ids[start : start + _READ]
            for run in np.split(part, np.flatnonzero(np.diff(part) > _GAP) + 1):
                first, last = int(run[0]), int(run[-1]) + 1
                values = read(self.source, first, last) if self._values is None else self._values[first:last]
                yield start, values if len(values) == len(run) else values[run - first]
                start += len(run)

    def _block(self, start: int, stop: int) -> Block:
        inverse = _inverse(self.norms[self.eligible[start:stop]])
        centred = np.empty((stop - start, self.width), np.float32)
        radius, tilt = np.empty(stop - start), np.empty(stop - start)
        for first, values in self._read(np.arange(start, stop)):
            for a in range(first, first + len(values), _SURVEY):
                b = min(a + _SURVEY, first + len(values))
                part = values[a - first : b - first] * inverse[a:b, None]
                part -= self.mean
                tilt[a:b] = part @ self.mean
                radius[a:b] = np.sqrt(np.einsum("ij,ij->i", part, part))
                centred[a:b] = part
        shift = float(self.mean @ self.mean)
        return Block(start, stop, inverse, torch.from_numpy(centred), radius, tilt, shift)


def _inverse(norm: np.ndarray) -> np.ndarray:
    inverse = np.zeros_like(norm)
    np.divide(1.0, norm, out=inverse, where=norm > 0)
    return inverse
