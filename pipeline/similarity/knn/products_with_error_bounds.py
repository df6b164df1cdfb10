"""Products of a layer's rows in float32 or bfloat16, each with a proved bound of its error.

For rows i and j of a layer (see `unit_rows`: c centred, h tilt) the product is

    s_ij = c_i . c_j + h_i + h_j

which is the cosine less |m|^2, and symmetric: one tile serves its rows and its columns. In float32 the product is
added to h_i + h_j; in bfloat16 it is [c_i, 1, h_i] . [c_j, h_j, 1], with h as a sum of three short terms. Rounding the
operands leaves residuals of measured length p_i. A float32 sum of n products, in any order, is off by at most n 2^-24
sum |a||b| (Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., eq. 3.5); twice that for bfloat16, whose
dot instructions add two terms at a time and round twice. With r = |c| and Cauchy-Schwarz

    e_i = p_i R + (r_i + p_i) P + n 2^-24 ((r_i + p_i)(R + P) + |h_i| + H) + 2^-24 (|h_i| + H),
    R = max r,  P = max p,  H = max |h|

bounds |computed - true| for every column j.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from structure.pipeline.similarity.knn.unit_rows import Block, UnitRows
from structure.store.errors import StructureError

TILE_BYTES = 8 << 20
"""Bytes of one tile of products on a processor: small enough to stay in a shared cache while it is searched."""

_DEVICE_TILE = 1 << 30
TOO_COARSE = (
    "Matrix products of float32 are less precise here than float32 (matmul precision is {precision!r}), so exact "
    "neighbours cannot be proved. Call torch.set_float32_matmul_precision('highest') first, and set no fast-math "
    "mode for oneDNN or TF32."
)


def has_bfloat16_units() -> bool:
    """Whether this processor multiplies bfloat16 in hardware; elsewhere float32 is the faster way."""
    supported = (getattr(torch.cpu, f"_is_{unit}_supported", None) for unit in ("avx512_bf16", "amx_tile"))
    return any(probe is not None and probe() for probe in supported)


class Float32:
    """Products are compared as they are."""

    dtype: ClassVar[torch.dtype] = torch.float32
    key_dtype: ClassVar[torch.dtype] = torch.float32
    terms: ClassVar[int] = 0  # columns that hold h
    roundings: ClassVar[int] = 1  # of each sum
    lowest: ClassVar[float] = -np.inf
    highest: ClassVar[float] = np.inf

    @staticmethod
    def keys(products: torch.Tensor) -> torch.Tensor:
        """What is compared: ordered as the products are."""
        return products

    @staticmethod
    def reached(keys: np.ndarray) -> np.ndarray:
        """The least sum, float64, that is seen as each key."""
        return keys.astype(np.float64)

    @staticmethod
    def cut(least: np.ndarray) -> np.ndarray:
        """The key that every sum of at least `least` (float64) reaches."""
        return np.asarray(np.nextafter(least.astype(np.float32), np.float32(-np.inf)))

    @staticmethod
    def seen(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Each key's sum, float64, and how far off it may be."""
        return keys.astype(np.float64), np.zeros(len(keys))


class BFloat16:
    """Positive bfloat16 values are ordered as their bits are as int16, negative ones are below them: integers suffice.

    Rounding a sum to bfloat16 keeps the order, so a sum of at least T is seen as at least T rounded; one more unit in
    the last place is given away for products that round another way. A row whose cut is not positive reaches
    everything, and is soon found to have too many candidates.
    """

    dtype: ClassVar[torch.dtype] = torch.bfloat16
    key_dtype: ClassVar[torch.dtype] = torch.int16
    terms: ClassVar[int] = 3
    roundings: ClassVar[int] = 2
    lowest: ClassVar[int] = -(2**15)
    highest: ClassVar[int] = 2**15 - 1

    @staticmethod
    def keys(products: torch.Tensor) -> torch.Tensor:
        return products.view(torch.int16)

    @staticmethod
    def reached(keys: np.ndarray) -> np.ndarray:
        return np.where(keys > 0, _of_bits(np.maximum(keys, 0)) * (1 - 2.0**-7), -np.inf)

    @staticmethod
    def cut(least: np.ndarray) -> np.ndarray:
        bits = (np.maximum(least, 0.0).astype(np.float32).view(np.int32) >> 16).astype(np.int16) - np.int16(1)
        return np.where(least > 1e-30, bits, np.int16(BFloat16.lowest))

    @staticmethod
    def seen(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value = _of_bits(keys)
        return value, np.abs(value) * 2.0**-7


Precision = type[Float32] | type[BFloat16]


def _of_bits(keys: np.ndarray) -> np.ndarray:
    return (keys.astype(np.int32) << 16).view(np.float32).astype(np.float64)


@dataclass(frozen=True)
class Factor:
    """A block's rows rounded: `right` (rows, width'), `residual` (rows,) float64 what rounding left.

    float32: c, and `tilt` (rows,) h. bfloat16: [c, h, 1, 0], with `terms` columns for h and 1 each, and no tilt.
    """

    right: torch.Tensor
    residual: np.ndarray
    width: int
    terms: int
    tilt: torch.Tensor | None

    def strip(self, rows: slice | np.ndarray) -> Strip:
        """Some rows as the left side of a product."""
        which = rows if isinstance(rows, slice) else torch.from_numpy(rows)
        left = self.right[which]
        if self.tilt is not None:
            return Strip(left, self.tilt[which])
        h, one, end = self.width, self.width + self.terms, self.width + 2 * self.terms
        return Strip(torch.cat([left[:, :h], left[:, one:end], left[:, h:one], left[:, end:]], dim=1), None)


@dataclass(frozen=True)
class Strip:
    """Rows as the left side of a product: `left` (rows, width'), and `tilt` (rows,) where it is added."""

    left: torch.Tensor
    tilt: torch.Tensor | None

    def __len__(self) -> int:
        return len(self.left)

    def times(self, factor: Factor, columns: slice, out: torch.Tensor) -> torch.Tensor:
        """s of these rows and some of a factor's, written to `out` (rows, columns)."""
        right = factor.right[columns].T
        if self.tilt is None or factor.tilt is None:
            return torch.mm(self.left, right, out=out)
        torch.add(self.tilt[:, None], factor.tilt[columns], out=out)
        return torch.addmm(out, self.left, right, out=out)


def factor(block: Block, precision: Precision, device: torch.device) -> Factor:
    """Round a block."""
    count, width = block.centred.shape
    residual = np.ldexp(1.0000001, -24) * block.radius
    if precision is Float32:
        tilt = torch.from_numpy(block.tilt.astype(np.float32))
        return Factor(block.centred.to(device), residual, width, 0, tilt.to(device))
    terms = precision.terms
    right = torch.zeros(count, -(-(width + 2 * terms) // 32) * 32, dtype=precision.dtype)
    right[:, :width] = block.centred
    rest = torch.from_numpy(block.tilt.copy())
    for term in range(width, width + terms):
        right[:, term] = rest
        rest -= right[:, term].double()
    right[:, width + terms : width + 2 * terms] = 1.0
    away = torch.empty(count)
    for a in range(0, count, 4096):
        part = right[a : a + 4096, :width].float()
        away[a : a + 4096] = torch.linalg.vector_norm(part.sub_(block.centred[a : a + 4096]), dim=1)
    return Factor(right.to(device), residual + away.double().numpy() * 1.001, width, terms, None)


def bound(width: int, precision: Precision, r: np.ndarray, h: np.ndarray, p: np.ndarray) -> np.ndarray:
    """`(rows,)` float64: e_i of the module's docstring from the rows' |c|, |h| and residuals."""
    most_r, most_h, most_p = r.max(initial=0.0), h.max(initial=0.0), p.max(initial=0.0)
    unit = 2.0**-24
    products = 1.01 * precision.roundings * (width + 2 * max(precision.terms, 1))
    rounding = products * unit * ((r + p) * (most_r + most_p) + h + most_h)
    residuals = 1.001 * (p * most_r + (r + p) * most_p)
    return np.asarray(residuals + rounding + unit * (h + most_h) + 1e-12)


class Products:
    """Tiles of s for a layer's eligible rows; `error` (eligible,) float64 is e, `shift` what s lacks to be the cosine.

    Raises StructureError where a corner of the first float32 tile is outside the bound: libraries may be set to
    multiply more coarsely; `Coarse` where bfloat16 is.
    """

    def __init__(self, rows: UnitRows, precision: Precision, device: torch.device) -> None:
        self.rows, self.precision, self.device = rows, precision, device
        self._factors: dict[tuple[int, int], Factor] = {}
        surveyed = [(block.radius, np.abs(block.tilt), self.factor(block).residual) for block in rows.blocks()]
        self.error = bound(rows.width, precision, *(np.concatenate(side) for side in zip(*surveyed, strict=True)))
        self.shift = float(rows.mean @ rows.mean)
        self.tile = (TILE_BYTES if device.type == "cpu" else _DEVICE_TILE) // precision.dtype.itemsize
        self._out = torch.empty(0, dtype=precision.dtype, device=device)
        self._is_checked = False

    def factor(self, block: Block) -> Factor:
        """The block's factor; those of the last two blocks stay in memory."""
        key = (block.start, block.stop)
        if key not in self._factors:
            while len(self._factors) >= 2:
                del self._factors[next(iter(self._factors))]
            self._factors[key] = factor(block, self.precision, self.device)
        return self._factors[key]

    def keys(self, strip: Strip, block: Block, start: int, stop: int) -> torch.Tensor:
        """`(len(strip), stop - start)` keys of the products with the eligible rows `[start, stop)` of a block; the
        buffer is used again by the next call."""
        columns = slice(start - block.start, stop - block.start)
        size = len(strip) * (stop - start)
        if self._out.numel() < size:
            self._out = torch.empty(size, dtype=self._out.dtype, device=self.device)
        out = self._out[:size].view(len(strip), stop - start)
        products = strip.times(self.factor(block), columns, out)
        if not self._is_checked:
            self._check(products[:8, :256], strip, self.factor(block), columns)
        return self.precision.keys(products)

    def _check(self, products: torch.Tensor, strip: Strip, factor: Factor, columns: slice) -> None:
        self._is_checked = True
        left, right = strip.left[:8].double(), factor.right[columns][:256].double()
        true, size = left @ right.T, left.abs() @ right.abs().T
        if strip.tilt is not None and factor.tilt is not None:
            h, other = strip.tilt[:8, None].double(), factor.tilt[columns][:256].double()
            true, size = true + (h + other), size + (h.abs() + other.abs())
        allowed = 1.01 * self.precision.roundings * (left.shape[1] + 2) * 2.0**-24 * size
        if self.precision is BFloat16:
            allowed = allowed + true.abs() * 2.0**-8
        if not bool(((products.double() - true).abs() <= allowed + 1e-30).all()):
            if self.precision is BFloat16:
                raise PrecisionTooLowError
            raise StructureError(TOO_COARSE.format(precision=torch.get_float32_matmul_precision()))


class PrecisionTooLowError(Exception):
    """bfloat16 products that are less precise than bfloat16: take float32."""
