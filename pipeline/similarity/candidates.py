"""Who can be among the nearest: low-precision products with a proved error bound, one band of rows at a time.

Let s be the computed and s* the true value of c_i . c_j + h_j, and |s - s*| <= e_i for every j. If t is a value that
the computed values of at least k columns reach, then k true values reach t - e_i, so a true neighbour has s* >= t -
e_i and a computed value of at least t - 2 e_i. Every column that reaches this is a candidate; no other can be a
neighbour, whatever the rounding did.

The bound. Operands are rounded to bfloat16 or float32, which leaves residuals of measured length p_i; the sum is
accumulated in float32, whose error is at most 2 (D + 4) 2^-24 sum |a||b| in any order (Higham, "Accuracy and
Stability of Numerical Algorithms", 2nd ed., eq. 3.5, doubled because two-term dot instructions round twice). With r =
|c| and Cauchy-Schwarz:

    e_i = p_i R + (r_i + p_i) P + 2 (D + 4) 2^-24 ((r_i + p_i)(R + P) + H) + 2^-24 H,     R = max r, P = max p, H =
    max |h|
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from structure.pipeline.similarity.order import dots
from structure.pipeline.similarity.rows import Block
from structure.store.errors import StructureError

BAND_BYTES = 8 << 20
"""Bytes of one band of products: small enough to stay in a shared cache while neighbours are picked from it."""

_GROUP = 16
_GROUPS = 8  # maxima a neighbour, before halving: fewer make the cut looser, more cost more to select from
_STRETCH = 96
_TOO_COARSE = (
    "Matrix products of float32 are less precise here than float32 (matmul precision is {precision!r}), so exact "
    "neighbours cannot be proved. Call torch.set_float32_matmul_precision('highest') first, and set no fast-math "
    "mode for oneDNN or TF32."
)
_ABSENT = -8.0  # below every possible c_i . c_j + h_j, whose size is at most 2 + 2


def has_bfloat16_units() -> bool:
    """Whether this processor multiplies bfloat16 in hardware; elsewhere float32 is the faster way."""
    supported = (getattr(torch.cpu, f"_is_{unit}_supported", None) for unit in ("avx512_bf16", "amx_tile"))
    return any(probe is not None and probe() for probe in supported)


@dataclass(frozen=True)
class Factor:
    """One side's rows in the precision of the product: `left` and `right` (rows, padded width), `residual` (rows,)
    float64."""

    left: torch.Tensor
    right: torch.Tensor
    residual: np.ndarray


def factor(block: Block, dtype: torch.dtype, device: torch.device) -> Factor:
    """Round a block; the tilt h rides along as a sum of short terms in extra columns against ones.

    `right` is padded with rows that score lower than any real one, to a multiple of 16 rows.
    """
    terms = 3 if dtype == torch.bfloat16 else 2
    count, width = block.centred.shape
    padded = width + terms if dtype != torch.bfloat16 else -(-(width + terms) // 32) * 32
    left = torch.zeros(count, padded, dtype=dtype)
    right = torch.zeros(-(-count // _GROUP) * _GROUP, padded, dtype=dtype)
    left[:, :width] = block.centred
    right[:count, :width] = left[:, :width]
    left[:, width : width + terms] = 1.0
    rest = torch.from_numpy(block.tilt.copy())
    for term in range(terms):
        right[:count, width + term] = rest
        rest -= right[:count, width + term].double()
    right[count:, width] = _ABSENT
    residual = np.ldexp(1.0000001, -24) * block.radius
    if dtype == torch.bfloat16:
        away = torch.empty(count)
        for a in range(0, count, 4096):
            part = left[a : a + 4096, :width].float()
            away[a : a + 4096] = torch.linalg.vector_norm(part.sub_(block.centred[a : a + 4096]), dim=1)
        residual += away.double().numpy() * 1.001
    return Factor(left.to(device), right.to(device), residual)


def bound(panel: Block, rows: np.ndarray, p: np.ndarray, block: Block, q: np.ndarray) -> np.ndarray:
    """`(len(rows),)` float64: e_i of the module's docstring; `p`, `q` are the residuals of the two sides."""
    r, p = panel.radius[rows], p[rows]
    most_r, most_q, most_h = block.radius.max(), q.max(), np.abs(block.tilt).max()
    width = panel.centred.shape[1]
    unit = 2.0**-24
    rounding = 2.02 * (width + 4) * unit * ((r + p) * (most_r + most_q) + most_h)
    residuals: np.ndarray = 1.001 * (p * most_r + (r + p) * most_q)
    return np.asarray(residuals + rounding + unit * most_h + 1e-12)


@dataclass(frozen=True)
class Candidates:
    """Pairs ordered by row: `row` and `column` int64 (places in the part, positions in the block), `value` float64 the
    cosine as far as it is known, `error` float64 its bound."""

    row: np.ndarray
    column: np.ndarray
    value: np.ndarray
    error: np.ndarray


NONE = Candidates(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), np.empty(0))


def joined(pieces: Sequence[Candidates]) -> Candidates:
    """One after the other."""
    if len(pieces) == 1:
        return pieces[0]
    fields = ("row", "column", "value", "error")
    return Candidates(*(np.concatenate([getattr(piece, field) for piece in pieces]) for field in fields))


def ordered(pieces: Sequence[Candidates]) -> Candidates:
    """Together, by row; pairs of one row stay in the order of the pieces."""
    if len(pieces) == 1:
        return pieces[0]
    whole = joined(pieces)
    by_row = np.argsort(whole.row, kind="stable")
    return Candidates(whole.row[by_row], whole.column[by_row], whole.value[by_row], whole.error[by_row])


class TooManyCandidates(Exception):
    """Nearly all rows are nearly equal: take fewer rows at a time."""


class Search:
    """Candidates among a block's rows, for rows of a panel; `k` counts a row itself where it is in the block.

    `narrow` multiplies in bfloat16 first and redoes in float32 the rows that this leaves with many candidates. More
    than `most` pairs at once raise TooManyCandidates: near-ties everywhere; the caller asks again for fewer rows.
    """

    def __init__(self, k: int, *, device: torch.device, narrow: bool, most: int) -> None:
        self.k, self.device, self.narrow, self.most = k, device, narrow and device.type == "cpu", most
        self._factors: dict[tuple[int, int, torch.dtype], Factor] = {}

    def factor(self, block: Block, dtype: torch.dtype) -> Factor:
        """The block's factor; those of the last two blocks are kept."""
        key = (block.start, block.stop, dtype)
        if key not in self._factors:
            while len(self._factors) >= 4:
                del self._factors[next(iter(self._factors))]
            self._factors[key] = factor(block, dtype, self.device)
        return self._factors[key]

    def among(self, panel: Block, part: np.ndarray, block: Block, floor: np.ndarray) -> Candidates:
        """The candidates of the panel's rows `part` (ascending positions) among the block's.

        `floor` (len(part),) float64 is the best proved lower bound of each row's k-th largest true value so far; it is
        raised in place, block after block.
        """
        rows = np.arange(len(part))
        if not self.narrow:
            return self._pass(panel, part, rows, block, floor, torch.float32)[0]
        found, redo = self._pass(panel, part, rows, block, floor, torch.bfloat16)
        if len(redo):
            found = ordered([found, self._pass(panel, part, redo, block, floor, torch.float32)[0]])
        return Candidates(found.row, found.column, *self.cosines(panel, part, block, found.row, found.column))

    def _pass(
        self, panel: Block, part: np.ndarray, rows: np.ndarray, block: Block, floor: np.ndarray, dtype: torch.dtype
    ) -> tuple[Candidates, np.ndarray]:
        """Candidates by products in `dtype`, and the rows that it could not narrow down, to be redone."""
        ours, theirs = self.factor(panel, dtype), self.factor(block, dtype)
        error = bound(panel, part[rows], ours.residual, block, theirs.residual)
        few = max(4 * self.k + 64, 128)
        pieces, redo, total = [], [np.empty(0, np.int64)], 0
        for a, b, products in _bands(ours.left, theirs.right, part[rows]):
            band, e = rows[a:b], error[a:b]
            if a == 0 and not _as_assumed(products, ours.left[torch.from_numpy(part[band[:8]])], theirs.right[:256]):
                if dtype != torch.bfloat16:
                    raise StructureError(_TOO_COARSE.format(precision=torch.get_float32_matmul_precision()))
                self.narrow = False
                return NONE, rows
            if self.device.type != "cpu":
                row, column, seen, raised, failed = _pick_on_device(products, self.k, e, floor[band])
            elif dtype == torch.bfloat16:
                row, column, seen, raised, failed = _pick_bfloat16(products, self.k, e, floor[band], few)
            else:
                row, column, seen, raised, failed = _pick_float32(products, self.k, e, floor[band])
            floor[band] = raised
            total += len(row)
            if total > self.most and len(part) > 1:
                raise TooManyCandidates
            # What the product says of the cosine, and how far that may be off.
            value = seen + (panel.tilt[part[band]] + panel.shift)[row]
            pieces.append(Candidates(band[row], column, value, e[row] + 2.0**-50))
            redo.append(band[failed])
        return joined(pieces), np.concatenate(redo)

    def cosines(
        self, panel: Block, part: np.ndarray, block: Block, row: np.ndarray, column: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """`(pairs,)` float64 cosines of pairs from float32 products, and the bound of each one's error.

        Sums of `_STRETCH` products are taken in float32 and added in float64, so the error of c_i . c_j is at most
        (`_STRETCH` + 6) 2^-24 r_i r_j: rounded operands, products and sums, in any order.
        """
        whole = len(part) == len(panel.centred)
        value = panel.tilt[part[row]] + block.tilt[column] + panel.shift
        for a in range(0, panel.centred.shape[1], _STRETCH):
            theirs = block.centred[:, a : a + _STRETCH].to(self.device).contiguous()
            if whole:
                ours = theirs if panel is block else panel.centred[:, a : a + _STRETCH].to(self.device)
            else:
                ours = panel.centred[torch.from_numpy(part), a : a + _STRETCH].to(self.device)
            value += dots(ours, theirs, row, column)
        scale = 1.01 * (_STRETCH + 6) * 2.0**-24
        return value, scale * panel.radius[part[row]] * block.radius[column] + 1e-12


def _bands(left: torch.Tensor, right: torch.Tensor, rows: np.ndarray) -> Iterator[tuple[int, int, torch.Tensor]]:
    """Products of consecutive bands of `rows` with all of `right`; the buffer is reused from band to band."""
    height = max(32, BAND_BYTES // (len(right) * right.element_size()))
    if left.device.type != "cpu":
        height = max(height, (1 << 30) // (len(right) * right.element_size()))
    height = min(height, len(rows))
    out = torch.empty(height, len(right), dtype=right.dtype, device=right.device)
    whole = len(rows) == len(left)
    for a in range(0, len(rows), height):
        b = min(a + height, len(rows))
        band = left[a:b] if whole else left[torch.from_numpy(rows[a:b])]
        yield a, b, torch.mm(band, right.T, out=out[: b - a])


def _as_assumed(products: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> bool:
    """Whether a corner of the products is within the bound: libraries may be set to multiply more coarsely."""
    seen = products[: len(left), : len(right)].double()
    left, right = left.double(), right.double()
    true = left @ right.T
    allowed = 2.02 * (left.shape[1] + 4) * 2.0**-24 * (left.abs() @ right.abs().T)
    if products.dtype == torch.bfloat16:
        allowed = allowed + true.abs() * 2.0**-8
    return bool(((seen - true).abs() <= allowed + 1e-30).all())


Picked = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Row and column of each candidate, its product, each row's raised floor, and which rows failed."""


def _kth_of_groups(keys: np.ndarray, k: int) -> np.ndarray | None:
    """A value that at least k columns reach in each row, near the k-th largest: the k-th largest maximum of groups."""
    if keys.shape[1] < k:
        return None
    while keys.shape[1] % 2 == 0 and keys.shape[1] >= _GROUPS * k:
        half = keys.shape[1] // 2
        keys = np.maximum(keys[:, :half], keys[:, half:])
    return np.partition(keys, keys.shape[1] - k, axis=1)[:, -k]


def _reached(keys: np.ndarray, cut: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    flat = np.flatnonzero(keys >= cut[:, None])
    row = flat // keys.shape[1]
    return row, flat - row * keys.shape[1]


def _pick_bfloat16(products: torch.Tensor, k: int, error: np.ndarray, floor: np.ndarray, few: int | None) -> Picked:
    """Positive bfloat16 values are ordered as their bits are as int16, negative ones are below them: integers suffice.

    Rounding the sum to bfloat16 keeps the order, so a sum of at least T is seen as at least T rounded; one more unit in
    the last place is given away for products that round another way.
    """
    keys = products.view(torch.int16).numpy()
    bits = _kth_of_groups(keys, k)
    if bits is not None:
        reached = (np.maximum(bits, 0).astype(np.int32) << 16).view(np.float32).astype(np.float64)
        floor = np.maximum(floor, np.where(bits > 0, reached * (1 - 2.0**-7) - error, -np.inf))
    cut = floor - error
    failed = ~(cut > 1e-30)
    low = (np.where(failed, np.inf, cut).astype(np.float32).view(np.int32) >> 16).astype(np.int16) - np.int16(1)
    row, column = _reached(keys, low)
    many = np.bincount(row, minlength=len(keys))
    failed |= many > (few or len(keys[0]))
    if failed.any():
        kept = ~failed[row]
        row, column = row[kept], column[kept]
    return row, column, np.zeros(len(row)), floor, failed


def _pick_float32(products: torch.Tensor, k: int, error: np.ndarray, floor: np.ndarray) -> Picked:
    keys = products.numpy()
    reached = _kth_of_groups(keys, k)
    if reached is not None:
        floor = np.maximum(floor, reached.astype(np.float64) - error)
    cut = np.maximum(floor - error, 0.5 * _ABSENT).astype(np.float32)
    row, column = _reached(keys, np.nextafter(cut, np.float32(-np.inf)))
    return row, column, keys[row, column].astype(np.float64), floor, np.zeros(len(keys), bool)


def _pick_on_device(products: torch.Tensor, k: int, error: np.ndarray, floor: np.ndarray) -> Picked:
    """The same on an accelerator: only thresholds and candidates cross to the host."""
    if products.shape[1] >= k:
        groups = products.view(len(products), 16, -1).amax(1) if products.shape[1] >= 256 * k else products
        reached = torch.topk(groups, k, dim=1).values[:, -1].double().cpu().numpy()
        floor = np.maximum(floor, reached - error)
    cut = np.nextafter(np.maximum(floor - error, 0.5 * _ABSENT).astype(np.float32), np.float32(-np.inf))
    row, column = torch.nonzero(products >= torch.from_numpy(cut).to(products.device)[:, None], as_tuple=True)
    seen = products[row, column].double()
    return row.cpu().numpy(), column.cpu().numpy(), seen.cpu().numpy(), floor, np.zeros(len(products), bool)
