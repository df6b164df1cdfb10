"""Distances of a layer's rows from products in float32 or bfloat16, each with proved bounds.

For rows i and j of a layer (see `unit_rows`: c centred, h tilt, m the mean) the distance, 1 less the cosine, is

    D_ij = g_i + g_j - c_i . c_j,    g = (1 - |m|^2) / 2 - h    (|c|^2 / 2 where u is a unit row)

It is symmetric: one tile serves its rows and its columns. Computed is D_ij - z, with an origin z for which it is about
0 for neighbours, where few bits tell many values apart, in narrow cones as well. Rounding the operands leaves residuals
of measured length p. A float32 sum of n products, in any order, is off by at most n 2^-24 sum |a||b| (Higham, "Accuracy
and Stability of Numerical Algorithms", 2nd ed., eq. 3.5); twice that for bfloat16, whose dot instructions add two terms
at a time and round twice. With r = |c|, Cauchy-Schwarz, and a b <= (a^2 / q + q b^2) / 2 for any q > 0, the error of
the whole is at most e_i + e_j,

    e = (p^2 (1 / q + 1) + q r^2) / 2 + n 2^-24 ((r + p)^2 / 2 + |g| + z / 2) + 3 2^-24 (|g| + z / 2)

with q about p / r, which makes the first term q r^2. A row far from the mean has a large error, and a large distance
from those near to it: it loosens no bound of theirs. The errors are taken off, too:

    computed + z <= D_ij <= computed + z + 2 e_i + 2 e_j

in float32 by adding f_i + f_j, f = g - e - z / 2, to the product; in bfloat16 by [-c_i, 1, f_i] . [c_j, f_j, 1], with f
as a sum of three short terms, and rounding the sum once more.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from threading import local
from typing import ClassVar

import numpy as np
import torch

from structure.pipeline.float32_products import by_transpose, is_for_onednn
from structure.pipeline.similarity.knn.search_plan import TILE_BYTES
from structure.pipeline.similarity.knn.unit_rows import Block, UnitRows
from structure.store.errors import StructureError

_DEVICE_TILE = 1 << 30
TOO_COARSE = (
    "Matrix products of float32 are less precise here than float32 (matmul precision is {precision!r}), so exact "
    "neighbours cannot be proved. Call torch.set_float32_matmul_precision('highest') first, and set no fast-math "
    "mode for oneDNN or TF32."
)


class Float32:
    """Distances are compared as they are."""

    dtype: ClassVar[torch.dtype] = torch.float32
    key_dtype: ClassVar[torch.dtype] = torch.float32
    rounding: ClassVar[float] = 2.0**-24  # q
    terms: ClassVar[int] = 0  # columns that hold f
    roundings: ClassVar[int] = 1  # of each sum
    farthest: ClassVar[float] = np.inf
    none: ClassVar[float] = -np.inf

    @staticmethod
    def keys(computed: torch.Tensor) -> torch.Tensor:
        """What is compared: ordered as what was computed is."""
        return computed

    @staticmethod
    def kth(row: np.ndarray, keys: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows (int16) that have k keys or more, and the k-th smallest of each."""
        bits = keys.view(np.int32).astype(np.int64)
        bits ^= (bits >> 32) & np.int64(2**31 - 1)  # in the order of the values
        rows, bits = _kth((row.astype(np.int64) << 32) + (bits + 2**31), row, k)
        bits = ((bits & (2**32 - 1)) - 2**31).astype(np.int32)
        return rows, (bits ^ ((bits >> 31) & np.int32(2**31 - 1))).view(np.float32)

    @staticmethod
    def most(keys: np.ndarray) -> np.ndarray:
        """The largest sum, float64, that is seen as each key."""
        return keys.astype(np.float64)

    @staticmethod
    def cut(most: np.ndarray) -> np.ndarray:
        """The key that no sum of at most `most` (float64) reaches."""
        return np.asarray(np.nextafter(most.astype(np.float32), np.float32(np.inf)))


class BFloat16:
    """Positive bfloat16 values are ordered as their bits are as int16, negative ones are below them: integers suffice.

    Rounding a sum to bfloat16 keeps the order, so a sum of at most T is seen as at most T rounded; one more unit in
    the last place is given away for sums that round another way. Negative sums, of rows that are nearly equal, are
    all taken for zero.
    """

    dtype: ClassVar[torch.dtype] = torch.bfloat16
    key_dtype: ClassVar[torch.dtype] = torch.int16
    rounding: ClassVar[float] = 2.0**-9
    terms: ClassVar[int] = 3
    roundings: ClassVar[int] = 2
    farthest: ClassVar[int] = 2**15 - 1
    none: ClassVar[int] = -(2**15)

    @staticmethod
    def keys(computed: torch.Tensor) -> torch.Tensor:
        return computed.view(torch.int16)

    @staticmethod
    def kth(row: np.ndarray, keys: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        rows, packed = _kth((row.astype(np.int32) << 16) + (keys.astype(np.int32) + 2**15), row, k)
        return rows, ((packed & (2**16 - 1)) - 2**15).astype(np.int16)

    @staticmethod
    def most(keys: np.ndarray) -> np.ndarray:
        value = (np.maximum(keys, 0).astype(np.int32) << 16).view(np.float32).astype(np.float64)
        return np.where(keys < _INFINITE, value * (1 + 2.0**-7), np.inf)

    @staticmethod
    def cut(most: np.ndarray) -> np.ndarray:
        above = np.nextafter(np.maximum(most, 0.0).astype(np.float32), np.float32(np.inf))
        return np.asarray((above.view(np.int32) >> 16).astype(np.int16) + np.int16(3))


_INFINITE = 0x7F80  # bits of infinity


def _kth(packed: np.ndarray, row: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows that occur k times or more, and the k-th smallest of what is packed of each, below the row's number."""
    count = np.bincount(row)
    first = np.cumsum(count) - count
    rows = np.flatnonzero(count >= k)
    return rows, np.sort(packed)[first[rows] + (k - 1)]


Precision = type[Float32] | type[BFloat16]


@dataclass(frozen=True)
class Factor:
    """A block's rows rounded: `right` (rows, width').

    float32: c, and `own` (rows,) f. bfloat16: [c, f, 1, 0], with `terms` columns for f and 1 each, and no `own`.
    """

    right: torch.Tensor
    width: int
    terms: int
    own: torch.Tensor | None

    def strip(self, rows: slice | np.ndarray) -> Strip:
        """Some rows as the left side of a product."""
        which = rows if isinstance(rows, slice) else torch.from_numpy(rows)
        left = self.right[which]
        if self.own is not None:
            return Strip(-left, self.own[which])
        f, one, end = self.width, self.width + self.terms, self.width + 2 * self.terms
        return Strip(torch.cat([-left[:, :f], left[:, one:end], left[:, f:one], left[:, end:]], dim=1), None)


@dataclass(frozen=True)
class Strip:
    """Rows as the left side of a product: `left` (rows, width'), with -c, and `own` (rows,) where it is added."""

    left: torch.Tensor
    own: torch.Tensor | None

    def __len__(self) -> int:
        return len(self.left)

    def distances(self, factor: Factor, columns: slice, out: torch.Tensor) -> torch.Tensor:
        """D less the origin and both errors, of these rows and some of a factor's; `out` (rows, columns) may
        be written."""
        right = factor.right[columns]
        if self.own is None or factor.own is None:
            return torch.mm(self.left, right.T, out=out)
        if is_for_onednn(self.left, right):
            return by_transpose(self.left, right, factor.own[columns]).add_(self.own[:, None])
        torch.add(self.own[:, None], factor.own[columns], out=out)
        return torch.addmm(out, self.left, right.T, out=out)


def factor(block: Block, precision: Precision, device: torch.device, origin: float = 0.0) -> tuple[Factor, np.ndarray]:
    """A block rounded, and e of its rows, (rows,) float64."""
    (count, width), terms = block.centred.shape, precision.terms
    residual = np.ldexp(1.0000001, -24) * block.radius
    if not terms:
        error = errors(precision, block, residual, origin)
        own = torch.from_numpy((block.half - error - origin / 2).astype(np.float32))
        return Factor(block.centred.to(device), width, 0, own.to(device)), error
    right = torch.zeros(count, -(-(width + 2 * terms) // 32) * 32, dtype=precision.dtype)
    right[:, :width] = block.centred
    away = torch.empty(count)
    for a in range(0, count, 4096):
        part = right[a : a + 4096, :width].float()
        away[a : a + 4096] = torch.linalg.vector_norm(part.sub_(block.centred[a : a + 4096]), dim=1)
    error = errors(precision, block, residual + away.double().numpy() * 1.001, origin)
    rest = torch.from_numpy(block.half - error - origin / 2)
    for term in range(width, width + terms):
        right[:, term] = rest
        rest -= right[:, term].double()
    right[:, width + terms : width + 2 * terms] = 1.0
    return Factor(right.to(device), width, terms, None), error


def errors(precision: Precision, block: Block, residual: np.ndarray, origin: float) -> np.ndarray:
    """`(rows,)` float64: e of the module's docstring."""
    q, r, p = precision.rounding, block.radius, residual
    g = 1.01 * (np.abs(block.half) + origin / 2)  # of f, too, from which e is taken
    operands = 1.001 * (p**2 * (1 / q + 1) + q * r**2) / 2
    sums = 1.01 * precision.roundings * (block.centred.shape[1] + 2 * max(precision.terms, 1)) * 2.0**-24
    return np.asarray(operands + sums * ((r + p) ** 2 / 2 + g) + 3 * 2.0**-24 * g + _LEAST / 2)


_LEAST = 1e-12
"""What two errors are at least: the rounding of what is taken for exact."""


@dataclass(frozen=True)
class ErrorBounds:
    """Of a layer's rows: `error` (rows,) float64 e and `radius` (rows,) float64 |c|."""

    error: np.ndarray
    radius: np.ndarray

    def __getitem__(self, rows: slice | np.ndarray) -> RowBounds:
        return RowBounds(self.error[rows], self.radius[rows], self.largest, self.share)

    @cached_property
    def largest(self) -> float:
        """The largest e."""
        return float(self.error.max(initial=0.0))

    @cached_property
    def share(self) -> float:
        """e <= share r^2 + `_LEAST` for every row."""
        above = np.maximum(self.error - _LEAST, 0.0)
        shares = np.divide(above, self.radius**2, out=np.full_like(above, np.inf), where=self.radius > 0)
        return float(np.where(above > 0, shares, 0.0).max(initial=0.0))


@dataclass(frozen=True)
class RowBounds:
    """`ErrorBounds` of some rows, which may have distances to every row: `largest` and `share` are of all."""

    error: np.ndarray
    radius: np.ndarray
    largest: float
    share: float

    def farthest(self, computed: np.ndarray, rows: slice | np.ndarray) -> np.ndarray:
        """What the distance of a pair is at most where at most `computed`, origin added, was computed for it: one for
        each of some rows.

        |c_i - c_j|^2 <= 2 D_ij, so r_j <= r_i + sqrt(2 D_ij): a first bound of the distance, by the largest error of
        all, bounds the other row's radius, hence its error, hence the distance again.
        """
        near = computed + 2 * self.error[rows]
        most = near + 2 * self.largest
        for _ in range(2):
            radius = self.radius[rows] + np.sqrt(2 * np.maximum(most, 0.0))
            most = np.minimum(most, near + 2 * (self.share * radius**2 + _LEAST))
        return np.asarray(most)


class Products:
    """Tiles of distances of a layer's eligible rows, less `origin`, within `bounds`; their k nearest are looked for.

    Raises StructureError where a corner of the first float32 tile is outside the bound: libraries may be set to
    multiply more coarsely; `PrecisionTooLowError` where bfloat16 is.
    """

    def __init__(self, rows: UnitRows, precision: Precision, device: torch.device, k: int) -> None:
        self.rows, self.precision, self.device = rows, precision, device
        self.origin = _near(rows, k) if precision.terms else 0.0
        self._factors: dict[tuple[int, int], Factor] = {}
        surveyed = []
        for block in rows.blocks():
            self._factors = {(block.start, block.stop): (made := factor(block, precision, device, self.origin))[0]}
            surveyed.append((made[1], block.radius))
        self.bounds = ErrorBounds(*(np.concatenate(side) for side in zip(*surveyed, strict=True)))
        self.tile = (TILE_BYTES if device.type == "cpu" else _DEVICE_TILE) // precision.dtype.itemsize
        self._buffer = local()  # a thread's own
        self._is_checked = False

    def factor(self, block: Block) -> Factor:
        """The block's factor; those of the last two blocks stay in memory."""
        key = (block.start, block.stop)
        if self.rows.is_held:
            return self._factors[key]
        made = self._factors.pop(key, None)
        while made is None and len(self._factors) >= 2:
            del self._factors[next(iter(self._factors))]
        self._factors[key] = made or factor(block, self.precision, self.device, self.origin)[0]
        return self._factors[key]

    def keys(self, strip: Strip, block: Block, start: int, stop: int) -> torch.Tensor:
        """`(len(strip), stop - start)` keys of the distances from the eligible rows `[start, stop)` of a block; the
        buffer is used again by the thread's next call."""
        columns = slice(start - block.start, stop - block.start)
        size = len(strip) * (stop - start)
        buffer = getattr(self._buffer, "tile", None)
        if buffer is None or buffer.numel() < size:
            buffer = self._buffer.tile = torch.empty(size, dtype=self.precision.dtype, device=self.device)
        out = buffer[:size].view(len(strip), stop - start)
        computed = strip.distances(self.factor(block), columns, out)
        if not self._is_checked:
            self._check(computed[:8, :256], strip, self.factor(block), columns)
        return self.precision.keys(computed)

    def _check(self, computed: torch.Tensor, strip: Strip, factor: Factor, columns: slice) -> None:
        self._is_checked = True
        left, right = strip.left[:8].double(), factor.right[columns][:256].double()
        true, size = left @ right.T, left.abs() @ right.abs().T
        if strip.own is not None and factor.own is not None:
            own, other = strip.own[:8, None].double(), factor.own[columns][:256].double()
            true, size = own + other + true, size + (own.abs() + other.abs())
        allowed = 1.01 * self.precision.roundings * (left.shape[1] + 2) * 2.0**-24 * size
        if self.precision is BFloat16:
            allowed = allowed + true.abs() * 2.0**-8
        if not bool(((computed.double() - true).abs() <= allowed + 1e-30).all()):
            if self.precision is BFloat16:
                raise PrecisionTooLowError
            raise StructureError(TOO_COARSE.format(precision=torch.get_float32_matmul_precision()))


def _near(rows: UnitRows, k: int) -> float:
    """About the least distance at which a row has k neighbours, from a few rows: a good origin, which any value may
    be."""
    block = next(rows.blocks())
    count = len(block.radius)
    some = slice(0, count, -(-count // _SAMPLE))
    products = (block.centred[some] @ block.centred.T).numpy()
    distances = block.half[some, None] + block.half - products
    kth = min(count - 1, k * count // len(rows.eligible))
    return float(max(np.partition(distances, kth, axis=1)[:, kth].min(), 0.0))


_SAMPLE = 16


class PrecisionTooLowError(Exception):
    """bfloat16 products that are less precise than bfloat16: take float32."""
