"""Scores of all pairs: against plain definitions, and what must hold for any layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structure.pipeline.similarity.cka import cka
from structure.pipeline.similarity.deduplicate import deduplicate
from structure.pipeline.similarity.k_rules import k_of
from structure.pipeline.similarity.knn.neighbours import neighbours
from structure.pipeline.similarity.neighbour_overlap import cycle_knn, mutual_curve, shared_counts, shared_totals
from structure.pipeline.similarity.ordinal_overlap import edit_distance_knn, lcs_knn
from structure.pipeline.similarity.registry import SIMILARITIES
from structure.pipeline.similarity.score import layer_similarity, mutual_knn
from structure.store.errors import StructureError


def layers(count: int, rows: int, width: int, seed: int) -> list[np.ndarray]:
    """Layers that share a latent part, so that scores are neither 0 nor 1."""
    random = np.random.default_rng(seed)
    latent = np.random.default_rng(99).normal(size=(rows, 6))
    return [latent @ random.normal(size=(6, width)) + 0.3 * i * random.normal(size=(rows, width)) for i in range(count)]


def random_tables(count: int, rows: int, k: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    picks = [random.permutation(np.delete(np.arange(rows), i))[:k] for _ in range(count) for i in range(rows)]
    return np.array(picks, np.int32).reshape(count, rows, k)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(4, 20), k=st.integers(1, 6), seed=st.integers(0, 10**6), lv=st.integers(1, 3), lt=st.integers(1, 3)
)
def test_tables_equal_sets(rows: int, k: int, seed: int, lv: int, lt: int) -> None:
    k = min(k, rows - 1)
    v, t = random_tables(lv, rows, k, seed), random_tables(lt, rows, k, seed + 1)
    curve = mutual_curve(list(v), list(t))
    for i in range(lv):
        for j in range(lt):
            shared = [
                [len(set(v[i, n, : q + 1].tolist()) & set(t[j, n, : q + 1].tolist())) for n in range(rows)]
                for q in range(k)
            ]
            np.testing.assert_allclose(curve[:, i, j], [sum(own) / rows / (q + 1) for q, own in enumerate(shared)])
            np.testing.assert_array_equal(shared_counts(v[i], t[j]), shared[-1])
            assert shared_totals(v, t)[i, j] == sum(shared[-1])
            there_and_back = [any(n in v[i, m] for m in t[j, n]) for n in range(rows)]
            assert cycle_knn(v, t)[i, j] == pytest.approx(np.mean(there_and_back))


def test_more_text_layers_than_bits_in_a_word() -> None:
    v, t = random_tables(2, 30, 5, 0), random_tables(70, 30, 5, 1)
    expected = [[shared_counts(a, b).sum() for b in t] for a in v]
    np.testing.assert_array_equal(shared_totals(v, t), expected)
    np.testing.assert_array_equal(cycle_knn(v, t)[:, 68:], cycle_knn(v, t[68:]))


def plain_lcs(a: list[int], b: list[int]) -> int:
    if not a or not b:
        return 0
    if a[-1] == b[-1]:
        return plain_lcs(a[:-1], b[:-1]) + 1
    return max(plain_lcs(a[:-1], b), plain_lcs(a, b[:-1]))


def plain_edits(a: list[int], b: list[int]) -> int:
    if not a or not b:
        return len(a) + len(b)
    change = plain_edits(a[:-1], b[:-1]) + (a[-1] != b[-1])
    return min(change, plain_edits(a[:-1], b) + 1, plain_edits(a, b[:-1]) + 1)


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(5, 9), k=st.integers(1, 4), seed=st.integers(0, 10**6))
def test_sequences_equal_recursion(rows: int, k: int, seed: int) -> None:
    a, b = random_tables(2, rows, k, seed)
    lists = [(x.tolist(), y.tolist()) for x, y in zip(a, b, strict=True)]
    assert lcs_knn(a, b) == pytest.approx(np.mean([plain_lcs(x, y) for x, y in lists]) / k)
    assert edit_distance_knn(a, b) == pytest.approx(1 - np.mean([plain_edits(x, y) for x, y in lists]) / k)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 12), scale=st.floats(1e-3, 1e3))
def test_mutual_knn_invariances(seed: int, k: int, scale: float) -> None:
    random = np.random.default_rng(seed)
    x, y = layers(2, 40, 8, seed)
    score = mutual_knn(x, y, k=k)
    assert 0.0 <= score <= 1.0
    assert mutual_knn(y, x, k=k) == score
    assert mutual_knn(x, x, k=k) == 1.0
    order = random.permutation(40)
    assert mutual_knn(x[order], y[order], k=k) == pytest.approx(score, abs=1e-12)
    rotation = np.linalg.qr(random.normal(size=(8, 8)))[0]
    assert mutual_knn(x @ rotation, scale * y, k=k) == pytest.approx(score, abs=1e-12)


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("sigma", [None, 1.0, 0.3])
def test_cka_equals_dense_kernels(unbiased: bool, sigma: float | None) -> None:
    x, y = (layer / np.linalg.norm(layer, axis=1, keepdims=True) for layer in layers(2, 50, 9, 1))

    def kernel(z: np.ndarray) -> np.ndarray:
        if sigma is None:
            return z @ z.T
        return np.exp(-((z[:, None] - z[None]) ** 2).sum(-1) / (2 * sigma**2))

    def hsic(a: np.ndarray, b: np.ndarray) -> float:
        m = len(a)
        if not unbiased:
            centre = np.eye(m) - 1 / m
            return np.trace(a @ centre @ b @ centre)
        a, b = a - np.diag(np.diag(a)), b - np.diag(np.diag(b))
        whole = a.sum() * b.sum() / ((m - 1) * (m - 2))
        return (np.trace(a @ b) + whole - 2 * (a @ b).sum() / (m - 2)) / (m * (m - 3))

    k, l_ = kernel(x), kernel(y)
    expected = hsic(k, l_) / np.sqrt(hsic(k, k) * hsic(l_, l_))
    for memory in (1 << 14, 1 << 30):
        found = cka([x], [y], unbiased=unbiased, sigma=sigma, eps=0.0, memory=memory)
        assert found[0, 0] == pytest.approx(expected, abs=1e-10)


def test_svcca_equals_scikit_learn() -> None:
    from sklearn.cross_decomposition import CCA

    x, y = layers(3, 80, 20, 2)[1:]
    score = layer_similarity([x], [y], metric="svcca")[0, 0]
    left = []
    for z in (x, y):
        z = z / np.linalg.norm(z, axis=1, keepdims=True)
        z = (z - z.mean(0)) / z.std(0, ddof=1)
        left.append(np.linalg.svd(z, full_matrices=False)[0][:, :10])
    turned = CCA(n_components=10, max_iter=5000, tol=1e-12).fit(*left).transform(*left)
    expected = np.mean([np.corrcoef(turned[0][:, i], turned[1][:, i])[0, 1] for i in range(10)])
    assert score == pytest.approx(expected, abs=1e-4)
    assert layer_similarity([x], [x], metric="svcca")[0, 0] == pytest.approx(1.0)
    wide = layers(1, 30, 60, 3)
    assert layer_similarity(wide, wide, metric="svcca")[0, 0] == pytest.approx(1.0)


@pytest.mark.parametrize("metric", SIMILARITIES)
def test_every_measure_is_one_on_itself_and_has_shape(metric: str) -> None:
    ours, theirs = layers(3, 60, 12, 4), layers(2, 60, 7, 5)
    scores = layer_similarity(ours, theirs, metric=metric, k=8)
    assert scores.shape == (3, 2)
    assert scores.dtype == np.float64
    if metric != "cycle_knn":  # a row is found again only if the relation is mutual
        assert layer_similarity(ours, ours, metric=metric, k=8, eps=0.0).diagonal() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metric": "mutual-nn"}, ["mutual_nn", "mutual_knn"]),
        ({"text_layers": [np.ones((7, 3))]}, ["vision 0", "60 rows", "text 0", "7"]),
        ({"text_layers": []}, ["no text layer"]),
        ({"k": 60}, ["60", "at least 61"]),
        ({"k": "rise"}, ["rise", "rice"]),
        ({"clamp": "exactly"}, ["exactly", "exact"]),
        ({"metric": "cka", "vision_layers": [np.full((60, 3), np.nan)]}, ["vision 0", "row 0"]),
        ({"metric": "cknna", "k": 1}, ["k >= 2"]),
    ],
)
def test_errors(change: dict[str, Any], words: list[str]) -> None:
    options: dict[str, Any] = {"vision_layers": layers(1, 60, 4, 6), "text_layers": layers(1, 60, 4, 7), "k": 5}
    with pytest.raises(StructureError) as error:
        layer_similarity(**(options | change))
    for word in words:
        assert word in str(error.value)


@given(rows=st.integers(3, 10**12))
def test_rules_are_exact(rows: int) -> None:
    rice, root, sturges = k_of("rice", 10 * rows), k_of("sqrt", rows), k_of("sturges", 4 * rows)
    assert (rice - 1) ** 3 < 80 * rows <= rice**3
    assert (root - 1) ** 2 < rows <= root**2
    assert 2 ** (sturges - 2) < 4 * rows <= 2 ** (sturges - 1)
    assert k_of("7", 100) == k_of(7, 100) == 7


def test_copies_are_folded() -> None:
    folding = deduplicate(["a", "a", "b", "c", "d"], ["x", "y", "z", "x", None], [None] * 5)
    np.testing.assert_array_equal(folding.rows, [0, 2, 4])
    assert folding.duplicates == 2


def test_tables_of_different_rows_are_refused() -> None:
    x = layers(1, 30, 4, 8)[0]
    with pytest.raises(StructureError, match="20 and 30 rows"):
        mutual_curve([neighbours(x, k=3)], [neighbours(x[:20], k=3)])
