"""All candidates of a range of rows: every tile of products is made once, for its rows and for its columns.

Rows come in strips. A strip meets the columns from its own first row on; the columns before it lie in earlier strips,
which have found this strip's candidates among their own rows already. Columns outside the range are met by every strip
for its rows alone. So a whole layer costs little more than half of its products, and a part of it, one task of many,
never more than its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from structure.pipeline.similarity.knn.products_with_error_bounds import Products
from structure.pipeline.similarity.knn.search_radii import CandidatePairs, Harvest, SearchRadii, groups_for
from structure.pipeline.similarity.knn.unit_rows import Block

STRIP = 512
"""Rows of a strip on a processor: fewer multiply more slowly, more waste more on the diagonal."""

PANEL = 8192
"""Rows whose candidates are handed over together, at most."""

_DEVICE_STRIP = 4096

_CROWD = 8
"""A row with more than this share of all others as candidates takes float32 products with all of them."""


@dataclass(frozen=True)
class Candidates:
    """What a sweep hands over: the candidates of the eligible rows `[start, stop)` of `block`, counted from `start`.

    `left_out` ascending positions: rows with so many near-ties that all candidates together would pass the budget.
    """

    block: Block
    start: int
    stop: int
    pairs: CandidatePairs
    left_out: np.ndarray


def sweep(products: Products, span: slice, searched: np.ndarray, k: int, most: int) -> Iterator[Candidates]:
    """The candidates of the eligible rows `span`, panel by panel; only those `searched` (eligible,) bool have any.

    Rows with fewer than about `most` / rows candidates, or 4 k, are not left out.
    """
    rows = products.rows
    radii = SearchRadii(k, products, span, searched[span])
    few = most // (span.stop - span.start)
    if products.precision.terms:  # of more it is faster to multiply the row with all others again
        few = min(few, len(searched) // _CROWD)
    harvest = Harvest(radii, few=max(4 * k + 64, few), most=most)
    height = max(STRIP if products.device.type == "cpu" else _DEVICE_STRIP, groups_for(k))
    for start, stop in panels(rows.edges, span, max(STRIP, most // (8 * k))):
        own = rows.block_at(start)
        for first, last in pairwise(rows.edges):
            if span.start <= first and last <= start:
                continue  # its strips have met this panel
            block = own if first == own.start else rows.block_at(first)
            for a in range(start, stop, height):
                b = min(a + height, stop)
                strip = products.factor(own).strip(slice(a - own.start, b - own.start))
                is_due = shrinks(a - span.start, b - span.start)
                for tile in tiles(a, b, span, block, products.tile // height):
                    keys = products.keys(strip, block, tile.start, tile.stop)
                    _search(keys, slice(a, b), tile, radii, harvest, is_due=is_due)
        pairs = harvest.take(start, stop)
        yield Candidates(
            own, start, stop, pairs, start + np.flatnonzero(harvest.many[start - span.start : stop - span.start])
        )


def _search(
    keys: torch.Tensor, strip: slice, tile: Tile, radii: SearchRadii, harvest: Harvest, *, is_due: bool = False
) -> None:
    """Take a tile's candidates for the strip, then those for its shared columns; `is_due` shrinks their radii first."""
    radii.see(keys, strip, axis=0)
    radii.shrink(strip)
    harvest.add(keys, strip, slice(tile.start, tile.stop), axis=0)
    if tile.shared < tile.stop:
        keys, columns = keys[:, tile.shared - tile.start :], slice(tile.shared, tile.stop)
        radii.see(keys, columns, axis=1)
        if is_due:
            radii.shrink(columns)
        harvest.add(keys, strip, columns, axis=1)


class TooManyCandidates(Exception):
    """Nearly all rows are nearly equal: take fewer rows at a time."""


def sweep_few(products: Products, block: Block, positions: np.ndarray, k: int, most: int) -> CandidatePairs:
    """The candidates of some rows of a block, `CandidatePairs.row` counted within `positions` (ascending).

    Raises TooManyCandidates for more than `most`, unless it is one row.
    """
    strip = products.factor(block).strip(positions - block.start)
    all_ = slice(0, len(positions))
    count = len(products.bounds.error)
    radii = SearchRadii(k, products, positions, np.ones(len(positions), bool))
    harvest = Harvest(radii, few=count, most=max(most, count))
    for other in products.rows.blocks():
        width = products.tile // len(positions)
        for tile in tiles(0, 0, slice(0, 0), other, width):
            keys = products.keys(strip, other, tile.start, tile.stop)
            _search(keys, all_, tile, radii, harvest)
            if len(positions) > 1 and harvest.count > most and len(harvest.prune()) > most:
                raise TooManyCandidates
    return harvest.take(0, len(positions))


@dataclass(frozen=True)
class Tile:
    """Columns `[start, stop)` that a strip meets; those from `shared` on find its rows among theirs, too."""

    start: int
    stop: int
    shared: int


def tiles(a: int, b: int, span: slice, block: Block | slice, width: int) -> Iterator[Tile]:
    """The tiles of the strip `[a, b)` of a sweep over `span` with a block's columns, about `width` wide, evenly cut."""
    for first, last, is_shared in (
        (block.start, min(block.stop, span.start), False),
        (max(block.start, a), min(block.stop, span.stop), True),
        (max(block.start, span.stop), block.stop, False),
    ):
        if first >= last:
            continue
        count = -(-(last - first) // max(width, 1))
        step = -(-(last - first) // (count * _EVEN)) * _EVEN
        for start in range(first, last, step):
            stop = min(start + step, last)
            yield Tile(start, stop, min(max(start, b), stop) if is_shared else stop)


_EVEN = 64  # tiles of whole groups fill all groups alike


def panels(edges: list[int], span: slice, at_most: int = PANEL) -> Iterator[tuple[int, int]]:
    """Cut `span` where blocks end, and into at most `PANEL` or `at_most` rows."""
    step = min(PANEL, at_most)
    for first, last in pairwise(edges):
        stop = min(last, span.stop)
        for start in range(max(first, span.start), stop, step):
            yield start, min(start + step, stop)


def shrinks(before: int, after: int) -> bool:
    """Whether the radii of columns are shrunk again, now that they have met `after` rows instead of `before`: each
    time that is half as many again, so that this costs log(rows) times, not once a strip."""
    return not before or int(np.log(after) / np.log(1.5)) > int(np.log(before) / np.log(1.5))
