"""Exact search among rows that the queries are not of, compared with brute force in exact arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from structure.pipeline.similarity.knn import top_k as module
from structure.pipeline.similarity.knn.csls import csls_top_k, mean_nearest
from structure.pipeline.similarity.knn.top_k import GalleryArray, top_k
from structure.store import StructureError

GRID = 2**50


def brute_force(queries: np.ndarray, rows: np.ndarray, k: int, usable: np.ndarray | None = None) -> tuple:
    """Sums in fractions, rounded once, on the grid; equal ones by row."""
    left, right = ([[Fraction(float(value)) for value in row] for row in side] for side in (queries, rows))
    exact = [[sum((a * b for a, b in zip(query, row, strict=True)), Fraction()) for row in right] for query in left]
    scores = np.array([[round(score * GRID) / GRID for score in of_query] for of_query in exact])
    if usable is not None:
        scores[:, ~usable] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), order


class Pieces(GalleryArray):
    """The same rows in pieces, as shards lie."""

    def pieces(self, start: int, stop: int) -> Sequence[np.ndarray]:
        edges = [start, *(edge for edge in range(7, len(self.values), 7) if start < edge < stop), stop]
        return [self.values[a:b] for a, b in pairwise(edges)]


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_the_same_as_brute_force_ties_included(data: st.DataObject) -> None:
    """Few distinct rows, near-ties of one unit in the last place, tiles of 64 rows, rows that are not usable."""
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    width, count = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 150))
    dtype = data.draw(st.sampled_from([np.float16, np.float32]))
    kinds = random.standard_normal((data.draw(st.integers(1, 5)), width)).astype(dtype)
    rows = kinds[random.integers(0, len(kinds), count)]
    nudged = random.random(rows.shape) < 0.1
    rows = np.where(nudged, np.nextafter(rows, dtype(np.inf)), rows)
    queries = np.concatenate([random.standard_normal((2, width)), kinds[:1]]).astype(np.float32)
    usable = random.random(count) < data.draw(st.sampled_from([0.0, 0.5, 1.0]))
    k = data.draw(st.integers(1, 12))
    found = top_k(queries, Pieces(rows), k=k, usable=usable, memory=data.draw(st.sampled_from([1, 1 << 30])))
    scores, order = brute_force(queries, rows, min(k, int(usable.sum())), usable)
    assert np.array_equal(found.rows, order)
    assert np.array_equal(found.scores, scores)


def test_many_near_ties_are_pruned_and_memory_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    rows = np.repeat(random.standard_normal((3, 16)).astype(np.float16), 3000, axis=0)[random.permutation(9000)]
    queries = random.standard_normal((4, 16)).astype(np.float32)
    whole = top_k(queries, GalleryArray(rows), k=20)
    pruned: list[int] = []
    prune = module._Search._prune

    def counted(self: module._Search) -> None:
        prune(self)
        pruned.append(self.found.count)

    monkeypatch.setattr(module._Search, "_prune", counted)
    monkeypatch.setattr(module, "LEAST_CANDIDATES", 64)
    tiled = top_k(queries, GalleryArray(rows), k=20, memory=1)
    assert pruned
    assert max(pruned) <= 4 * 20  # what is held is bounded although thousands of rows tie
    assert np.array_equal(tiled.rows, whole.rows)
    assert np.array_equal(tiled.scores, whole.scores)


def test_a_row_that_could_not_be_read_is_never_found() -> None:
    rows = np.eye(4, dtype=np.float16)

    class Damaged(Pieces):
        def pieces(self, start: int, stop: int) -> Sequence[np.ndarray]:
            values = self.values.copy()
            values[1] = np.nan
            return [values[start:stop]]

    found = top_k(np.ones((1, 4)), Damaged(rows), k=9, usable=np.array([True, False, True, True]))
    assert found.rows.tolist() == [[0, 2, 3]]


def test_what_cannot_be_ordered_is_refused() -> None:
    with pytest.raises(StructureError, match=r"width 4"):
        top_k(np.ones((1, 3)), GalleryArray(np.eye(4)), k=1)
    with pytest.raises(StructureError, match="NaN"):
        top_k(np.full((1, 4), np.nan), GalleryArray(np.eye(4)), k=1)
    with pytest.raises(StructureError, match="not finite"):
        GalleryArray(np.full((1, 4), np.inf))
    assert top_k(np.ones((0, 4)), GalleryArray(np.eye(4)), k=2).rows.shape == (0, 2)


def test_coarse_products_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    multiply = torch.mm

    def coarse(a: torch.Tensor, b: torch.Tensor, *, out: torch.Tensor) -> torch.Tensor:
        return out.copy_(multiply(a.bfloat16(), b.bfloat16()).float())

    monkeypatch.setattr(module.torch, "mm", coarse)
    random = np.random.default_rng(1)
    with pytest.raises(StructureError, match="less precise here than float32"):
        top_k(random.standard_normal((3, 32)), GalleryArray(random.standard_normal((50, 32))), k=3)


def test_csls_is_the_published_formula() -> None:
    random = np.random.default_rng(2)
    images, texts, queries = (random.standard_normal((n, 6)) for n in (40, 30, 5))
    images, texts, queries = (
        (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32) for x in (images, texts, queries)
    )
    r_x = np.sort(images @ texts.T, axis=1)[:, -10:].mean(axis=1)
    r_q = np.sort(queries @ images.T, axis=1)[:, -10:].mean(axis=1)
    expected = 2 * queries @ images.T - r_q[:, None] - r_x
    hubness = mean_nearest(GalleryArray(images), GalleryArray(texts))
    assert hubness == pytest.approx(r_x, abs=1e-6)
    cosines = images @ texts.T
    cosines[np.arange(30), np.arange(30)] = -np.inf  # the first thirty are pairs
    without = mean_nearest(GalleryArray(images), GalleryArray(texts), samples=(np.arange(40), np.arange(30)))
    assert without == pytest.approx(np.sort(cosines, axis=1)[:, -10:].mean(axis=1), abs=1e-6)
    found = csls_top_k(queries, GalleryArray(images), hubness, k=4)
    order = np.argsort(-expected, axis=1)[:, :4]
    assert np.array_equal(found.rows, order)
    assert found.scores == pytest.approx(np.take_along_axis(expected, order, axis=1), abs=1e-6)


def test_sums_that_are_equal_in_truth_are_ties_however_they_round() -> None:
    """Rows with the same values in another order, and a query that is the same everywhere."""
    random = np.random.default_rng(5)
    values = random.standard_normal(300).astype(np.float32)
    rows = np.array([random.permutation(values) for _ in range(40)])
    query = np.full((1, 300), np.float32(0.3))
    assert len(set((rows.astype(np.float64) * 0.3).sum(axis=1).tolist())) > 1  # float64 tells them apart
    assert top_k(query, GalleryArray(rows), k=12).rows.tolist() == [list(range(12))]
