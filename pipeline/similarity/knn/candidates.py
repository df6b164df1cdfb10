"""All candidates of a range of rows: every tile of products is made once, for its rows and for its columns.

The range is cut into panels, every two of which meet once: a strip of rows of one meets the rows of the other, and both
find candidates. Within a panel, a strip meets the rows from its own first one on. Rows outside the range are met for
the panel's rows alone. So a whole layer costs little more than half of its products, and a part of it, one task of
many, never more than its own. Panels meet side by side on the cores of a processor, each in one meeting at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations_with_replacement, pairwise

import numpy as np
import torch

from structure.pipeline.similarity.knn.each_two import EachTwo, Two
from structure.pipeline.similarity.knn.products_with_error_bounds import Products
from structure.pipeline.similarity.knn.search_plan import HELD_PAIRS, groups_for
from structure.pipeline.similarity.knn.search_radii import CandidatePairs, Harvest, SearchRadii
from structure.pipeline.similarity.knn.unit_rows import Block

STRIP = 512
"""Rows of a strip on a processor: fewer multiply more slowly, more waste more on the diagonal."""

PANEL = 8192
"""Rows whose candidates are handed over together, at most."""

_SEEN = PANEL // 2
"""Columns that a row meets before its radius follows its candidates alone."""

_DEVICE_STRIP = 4096

_CROWD = 8
"""A row with more than this share of all others as candidates takes float32 products with all of them."""


@dataclass(frozen=True)
class Candidates:
    """What a sweep hands over: the candidates of the eligible rows `[start, stop)` of `block`, counted from `start`, by
    row.

    `left_out` ascending positions: rows with so many near-ties that all candidates together would pass the budget.
    """

    block: Block
    start: int
    stop: int
    pairs: CandidatePairs
    left_out: np.ndarray


class Sweep:
    """The search of the eligible rows `span` for their `k` nearest; only those `searched` (eligible,) bool have any.

    Rows with fewer than about `most` / rows candidates, or 4 k, are not left out. `at_once` threads search.
    """

    def __init__(
        self, products: Products, span: slice, searched: np.ndarray, *, k: int, most: int, at_once: int
    ) -> None:
        self.products, self.at_once = products, at_once
        self.strip = max(STRIP if products.device.type == "cpu" else _DEVICE_STRIP, groups_for(k))
        few = most // (span.stop - span.start)
        if products.precision.terms:  # of more it is faster to multiply the row with all others again
            few = min(few, len(searched) // _CROWD)
        few = max(4 * k + 64, few)
        self.meets = Meetings.of(products.rows.edges, span, at_once)
        self._panels = []
        for rows in self.meets.panels:
            radii = SearchRadii(k, products, rows, searched[rows])
            held = (rows.stop - rows.start) * max(int(HELD_PAIRS * k), most // (span.stop - span.start))
            self._panels.append(_Panel(rows, radii, Harvest(radii, few=few, most=held)))

    def run(self, found: Callable[[Candidates], None]) -> None:
        """`found` is told the candidates of each panel, from the thread that found the last of them."""

        def done(place: int) -> None:
            rows, harvest = self.meets.panels[place], self._panels[place].harvest
            pairs, left_out = harvest.take(), rows.start + np.flatnonzero(harvest.many)
            self._panels[place].forget()
            found(Candidates(self.products.rows.block_at(rows.start), rows.start, rows.stop, pairs, left_out))

        EachTwo(self.meets.pairs, len(self._panels), self._meet, done).run(self.at_once)

    def _meet(self, place: int, with_place: int) -> None:
        """Search a panel and another, or the columns outside the span, in each other."""
        own, products = self._panels[place], self.products
        other = self._panels[with_place] if with_place < len(self._panels) else None
        columns = self.meets.columns(with_place)
        block, theirs = (products.rows.block_at(part.start) for part in (own.rows, columns))
        start, met, met_by_other = 0, own.met, 0 if other is None else other.met
        strip = None
        for rows, tile in strips(own.rows, columns, self.strip, products.tile, is_shared=other is not None):
            if strip is None or rows.start != start:
                strip = products.factor(block).strip(slice(rows.start - block.start, rows.stop - block.start))
                start = rows.start
            keys = products.keys(strip, theirs, tile.start, tile.stop)
            before, after = (met + edge - columns.start for edge in (tile.start, tile.stop))
            own.search(keys, rows, slice(tile.start, tile.stop), axis=0, before=before, after=after)
            if other is not None and tile.shared < tile.stop:
                before, after = (met_by_other + edge - own.rows.start for edge in (rows.start, rows.stop))
                shared = slice(tile.shared, tile.stop)
                other.search(keys[:, tile.shared - tile.start :], rows, shared, axis=1, before=before, after=after)
        own.has_met(columns)
        if other is not None and other is not own:
            other.has_met(own.rows)


@dataclass
class _Panel:
    """Rows of a sweep, with what was found for them among the `met` columns so far."""

    rows: slice
    radii: SearchRadii
    harvest: Harvest
    met: int = 0

    def search(self, keys: torch.Tensor, rows: slice, columns: slice, axis: int, *, before: int, after: int) -> None:
        """Take a tile's candidates for the rows along `axis`, which have met `after` others now instead of
        `before`."""
        mine = rows if axis == 0 else columns
        if before < _SEEN:
            self.radii.see(keys, mine, axis)
            if shrinks(before, after):
                self.radii.shrink(mine)
        self.harvest.add(keys, rows, columns, axis)

    def has_met(self, others: slice) -> None:
        """Count those that all rows have met."""
        self.met += others.stop - others.start
        if self.met >= _SEEN:
            self.radii.forget()

    def forget(self) -> None:
        """Give back the memory of what is no longer needed."""
        del self.radii, self.harvest


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
    harvest = Harvest(radii, few=count, most=2 * max(most, count))
    panel = _Panel(all_, radii, harvest)
    for other in products.rows.blocks():
        width = products.tile // len(positions)
        for tile in tiles(0, 0, other, width, is_shared=False):
            keys = products.keys(strip, other, tile.start, tile.stop)
            panel.search(keys, all_, slice(tile.start, tile.stop), axis=0, before=0, after=1)
            if len(positions) > 1 and harvest.count > most and len(harvest.prune()) > most:
                raise TooManyCandidates
    return harvest.take()


@dataclass(frozen=True)
class Meetings:
    """The panels of a sweep, the columns `outside` its span, and which of them meet: `pairs` of places among both."""

    panels: list[slice]
    outside: list[slice]
    pairs: list[Two]

    @classmethod
    def of(cls, edges: list[int], span: slice, at_once: int) -> Meetings:
        """Panels are cut where blocks end, and into two for each thread or more; those of two blocks meet one after
        the other, so that blocks are read again as seldom as can be."""
        rows = -(-(span.stop - span.start) // (2 * at_once)) if at_once > 1 else PANEL
        own = list(panels(edges, span, max(rows, STRIP)))
        outside = [
            slice(first, last)
            for start, stop in pairwise(edges)
            for first, last in ((start, min(stop, span.start)), (max(start, span.stop), stop))
            if first < last
        ]
        pairs = [*combinations_with_replacement(range(len(own)), 2)]
        pairs += [(i, len(own) + j) for i in range(len(own)) for j in range(len(outside))]
        places = np.searchsorted(edges, [part.start for part in (*own, *outside)], side="right")
        return cls(own, outside, sorted(pairs, key=lambda pair: (places[pair[0]], places[pair[1]], pair)))

    def columns(self, place: int) -> slice:
        """A panel or what is outside the span."""
        return self.panels[place] if place < len(self.panels) else self.outside[place - len(self.panels)]


@dataclass(frozen=True)
class Tile:
    """Columns `[start, stop)` that a strip meets; those from `shared` on find its rows among theirs, too."""

    start: int
    stop: int
    shared: int


def strips(own: slice, other: slice, height: int, size: int, *, is_shared: bool) -> Iterator[tuple[slice, Tile]]:
    """Strips of `own`, about `height` rows each, with the tiles of `other`, at most `size` entries each."""
    count = own.stop - own.start
    step = -(-count // -(-count // height))
    for a in range(own.start, own.stop, step):
        b = min(a + step, own.stop)
        for tile in tiles(a, b, other, size // step, is_shared=is_shared):
            yield slice(a, b), tile


def tiles(a: int, b: int, other: Block | slice, width: int, *, is_shared: bool) -> Iterator[Tile]:
    """The tiles of the strip `[a, b)` with the columns of `other`, about `width` wide, evenly cut; shared columns
    before the strip have met its rows."""
    first, last = max(other.start, a) if is_shared else other.start, other.stop
    count = -(-(last - first) // max(width, 1))
    step = -(-(last - first) // (max(count, 1) * _EVEN)) * _EVEN
    for start in range(first, last, max(step, 1)):
        stop = min(start + step, last)
        yield Tile(start, stop, min(max(start, b), stop) if is_shared else stop)


_EVEN = 64  # tiles of whole groups fill all groups alike


def panels(edges: list[int], span: slice, at_most: int = PANEL) -> Iterator[slice]:
    """Cut `span` where blocks end, and evenly into at most `PANEL` or `at_most` rows."""
    most = min(PANEL, at_most)
    for first, last in pairwise(edges):
        first, last = max(first, span.start), min(last, span.stop)
        if first < last:
            step = -(-(last - first) // -(-(last - first) // most))
            yield from (slice(start, min(start + step, last)) for start in range(first, last, step))


def shrinks(before: int, after: int) -> bool:
    """Whether radii are shrunk again, now that they have met `after` others instead of `before`: each time that is
    half as many again, so that this costs log(rows) times, not once a tile."""
    return not before or int(np.log(after) / np.log(1.5)) > int(np.log(before) / np.log(1.5))
