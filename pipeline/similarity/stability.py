"""How stable the choice of layers is: the ranking repeated on random subsets of the rows.

The neighbours of a row among a subset are not those of the full table cut down (the table is far too shallow for
that), so they are computed afresh, exactly. That is cheap: m rows cost (m / rows)^2 of a full table, and each layer is
read once for all its subsets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from structure.pipeline.device import side_by_side
from structure.pipeline.similarity.k_rules import k_of
from structure.pipeline.similarity.knn.neighbour_tables import at_once
from structure.pipeline.similarity.knn.neighbours import MEMORY, Neighbours, search
from structure.pipeline.similarity.knn.search_size import SUBSET_SIZES, held_bytes
from structure.pipeline.similarity.knn.unit_rows import RowSlices, read
from structure.pipeline.similarity.metric import ComparedLayers, SimilarityMetric

Pair = tuple[int, int]
_SLICE = 4096


@dataclass(frozen=True)
class Subset:
    """`rows` (size,) int64 ascending: which rows of the ranking; `k` neighbours are compared among them."""

    rows: np.ndarray
    k: int

    @property
    def size(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class SubsetTables:
    """One side's neighbours among a subset: `tables` (layers, size, k) int32, `constant` (layers,) bool."""

    tables: np.ndarray
    constant: np.ndarray


@dataclass(frozen=True)
class Stability:
    """Which pair wins on subsets of `size` rows: `chosen` one pair a repeat, `score` that pair's score.

    `agreement` is the share of repeats that choose the reference pair; `reference_score` (repeats,) is that pair's
    score there.
    """

    size: int
    k: int
    chosen: tuple[Pair, ...]
    score: tuple[float, ...]
    reference_score: tuple[float, ...]
    agreement: float


def draw_subsets(
    rows: int, *, k: int | str = "rice", sizes: Sequence[int] = SUBSET_SIZES, repeats: int = 5, seed: int = 0
) -> list[Subset]:
    """`repeats` subsets of each size, by ascending size; `k` is a number or a rule, applied to each size.

    Sizes that are not below `rows` (that is the ranking itself), or too small for k, are left out.
    """
    random = np.random.default_rng(seed)
    drawn = []
    for size in sorted({size for size in sizes if size < rows}):
        depth = k_of(k, size) if isinstance(k, str) else k
        if size > depth:
            drawn += [Subset(np.sort(random.choice(rows, size, replace=False)), depth) for _ in range(repeats)]
    return drawn


def subset_tables(
    layers: Mapping[str, RowSlices], subsets: Sequence[Subset], *, memory: int = MEMORY
) -> list[SubsetTables]:
    """The tables of every layer among each subset; as many layers side by side as `memory` bytes allow."""
    sizes, width = [subset.size for subset in subsets], max(int(layer.shape[1]) for layer in layers.values())
    # A search holds the rows of all its subsets, as float32, and searches one of them at a time.
    count = at_once(len(layers), held_bytes(max(sizes, default=0), width) + 4 * sum(sizes) * width, memory)

    def of_layer(name: str) -> list[Neighbours]:
        parts = _taken(layers[name], [subset.rows for subset in subsets])
        return [
            search(part, k=subset.k, memory=memory // count, name=name)
            for subset, part in zip(subsets, parts, strict=True)
        ]

    by_layer = side_by_side(of_layer, layers, at_once=count)
    return [
        SubsetTables(np.stack([own.table for own in of_layers]), np.array([own.constant for own in of_layers]))
        for of_layers in zip(*by_layer, strict=True)
    ]


def stability(
    metric: type[SimilarityMetric],
    subsets: Sequence[Subset],
    vision: Sequence[SubsetTables],
    text: Sequence[SubsetTables],
    *,
    reference: Pair,
) -> list[Stability]:
    """What is chosen on each subset by a metric of neighbour tables; `reference` is the pair chosen on all rows."""
    repeats = []
    for size, group in groupby(zip(subsets, vision, text, strict=True), key=lambda each: each[0].size):
        chosen, score, known, k = [], [], [], 0
        for subset, ours, theirs in group:
            k = subset.k
            scores = metric(ComparedLayers(tables=(ours.tables, theirs.tables))).scores()
            eligible = np.where(ours.constant[:, None] | theirs.constant[None, :], -np.inf, scores)
            best = np.unravel_index(eligible.argmax(), eligible.shape)
            chosen.append((int(best[0]), int(best[1])))
            score.append(float(scores[best]))
            known.append(float(scores[reference]))
        agreement = sum(pair == reference for pair in chosen) / len(chosen)
        repeats.append(Stability(size, k, tuple(chosen), tuple(score), tuple(known), agreement))
    return repeats


def _taken(layer: RowSlices, subsets: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """The rows of each ascending index array, read once from the layer in slices."""
    rows, width = (int(size) for size in layer.shape)
    parts: list[list[np.ndarray]] = [[] for _ in subsets]
    for start in range(0, rows, _SLICE):
        stop = min(start + _SLICE, rows)
        block = read(layer, start, stop)
        for part, chosen in zip(parts, subsets, strict=True):
            a, b = np.searchsorted(chosen, [start, stop])
            part.append(block[chosen[a:b] - start])
    for part in parts:
        yield np.concatenate(part).reshape(-1, width)
