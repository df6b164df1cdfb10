"""What may be exchanged of rows in groups, and that p-values are right only then."""

from __future__ import annotations

import itertools
import math
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structure.pipeline.similarity import permuted_overlap
from structure.pipeline.similarity.exchangeability import Exchangeability
from structure.pipeline.similarity.metric import ComparedLayers
from structure.pipeline.similarity.mutual_knn import MutualKnn
from structure.pipeline.similarity.neighbour_overlap import shared_totals
from structure.pipeline.similarity.permutation_test import bootstrap, largest_permuted, null_of
from structure.pipeline.similarity.permuted_overlap import permuted_totals
from structure.pipeline.similarity.registry import SIMILARITIES
from structure.store.errors import StructureError

Permute = Literal["within", "whole"]


def tables(layers: int, rows: int, k: int, seed: int) -> np.ndarray:
    """(layers, rows, k) int32: random neighbours, of which deeper layers keep most."""
    random = np.random.default_rng(seed)
    scores = random.random((rows, rows))
    found = []
    for _ in range(layers):
        scores = scores + 0.1 * random.random((rows, rows))
        np.fill_diagonal(scores, -1)
        found.append(np.argsort(-scores, axis=1)[:, :k])
    return np.stack(found).astype(np.int32)


@pytest.mark.parametrize(
    ("vision", "text"), [(1, 1), (3, 9), (9, 3), (17, 2), (40, 33), (70, 3), (3, 70)], ids=lambda size: str(size)
)
@pytest.mark.parametrize("bounds", [{}, {"TABLE_BYTES": 400}, {"FILTERED": 8, "FILTER_BYTES": 50, "ORDER_BYTES": 600}])
def test_all_layers_in_one_pass_are_the_plain_totals(
    vision: int, text: int, bounds: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in bounds.items():
        monkeypatch.setattr(permuted_overlap, name, value)
    rows, k = 23, 5
    ours, theirs = tables(vision, rows, k, 0), tables(text, rows, k, 1)
    random = np.random.default_rng(2)
    permutations = [np.arange(rows), *(random.permutation(rows) for _ in range(3))]
    found = list(permuted_totals(ours, theirs, iter(permutations)))
    assert len(found) == len(permutations)
    for total, permutation in zip(found, permutations, strict=True):
        moved = np.empty_like(theirs)
        moved[:, permutation] = permutation[theirs]
        np.testing.assert_array_equal(total, shared_totals(ours, moved))
        assert total.dtype == np.int64


@pytest.mark.parametrize("name", ["mutual_knn", "multiscale_knn"])
def test_scores_of_many_permutations_are_those_of_each(name: str) -> None:
    metric: Any = SIMILARITIES[name](ComparedLayers(tables=(tables(3, 40, 6, 0), tables(2, 40, 6, 1))))
    permutations = [np.random.default_rng(seed).permutation(40) for seed in range(4)]
    for many, permutation in zip(metric.permuted_scores(permutations), permutations, strict=True):
        assert (many == metric.scores(permutation)).all()  # bit for bit


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=6), seed=st.integers(0, 99), data=st.data())
def test_only_what_may_be_exchanged_is(sizes: list[int], seed: int, data: st.DataObject) -> None:
    numbers = data.draw(st.permutations(np.repeat(np.arange(len(sizes)), sizes).tolist()))
    groups = np.array(numbers)
    rows = len(groups)
    within = Exchangeability(rows, groups, "within", "patient")
    whole = Exchangeability(rows, groups, "whole", "patient")
    assert within.possible == math.prod(map(math.factorial, np.bincount(groups).tolist()))
    assert whole.possible == math.prod(math.factorial(sizes.count(size)) for size in set(sizes))
    for found in within.permutations(9, seed=seed):
        assert sorted(found.tolist()) == list(range(rows))
        np.testing.assert_array_equal(groups[found], groups)
    for found in whole.permutations(9, seed=seed):
        assert sorted(found.tolist()) == list(range(rows))
        for group in range(len(sizes)):
            moved = found[groups == group]  # where the rows of a group go: those of one other, in their order
            (taken,) = set(groups[moved].tolist())
            np.testing.assert_array_equal(moved, np.flatnonzero(groups == taken))
    for exchange in (within, whole):
        if exchange.possible - 1 <= 9:
            every = [tuple(found.tolist()) for found in exchange.permutations(9, seed=seed)]
            assert len(set(every)) == len(every) == exchange.possible - 1
            assert tuple(range(rows)) not in every


def test_rows_without_groups_are_drawn_as_ever() -> None:
    random = np.random.default_rng(3)
    for found in Exchangeability(50).permutations(5, seed=3):
        np.testing.assert_array_equal(found, random.permutation(50))


def test_draws_of_groups_are_uniform_over_what_there_is() -> None:
    groups = np.array([0, 1, 0, 1, 0, 2])
    exchange = Exchangeability(6, groups, "within", "patient")
    orders: dict[tuple[int, ...], int] = {}
    random = np.random.default_rng(0)
    for _ in range(2400):
        found = exchange._of_rows(exchange._drawn_order(random))
        orders[tuple(found.tolist())] = orders.get(tuple(found.tolist()), 0) + 1
    assert len(orders) == exchange.possible == 12
    assert max(abs(count - 200) for count in orders.values()) < 60  # four standard deviations


def test_few_permutations_are_told_with_both_numbers() -> None:
    exchange = Exchangeability(5, np.array([0, 0, 1, 1, 2]), "within", "patient")
    assert (exchange.drawn(200), exchange.smallest_p(200)) == (3, 0.25)
    assert exchange.note(200) == (
        "the rows allow 4 permutations within groups of patient, and the test asks for 200: it takes all of them, and "
        "no p-value is below 0.25"
    )
    assert exchange.note(3) == ""
    assert exchange.describe(3) == "all 3 permutations within groups of patient, which allow no p below 0.25"
    assert exchange.to_dict(200) == {
        "scheme": "within groups",
        "group": "patient",
        "groups": 3,
        "largest_group": 2,
        "drawn": 3,
        "possible": 4,
        "smallest_p": 0.25,
    }
    assert Exchangeability(500).to_dict(199) == {
        "scheme": "unrestricted",
        "group": None,
        "groups": None,
        "largest_group": None,
        "drawn": 199,
        "possible": None,
        "smallest_p": 1 / 200,
    }
    with pytest.raises(
        StructureError, match=r"5 rows are 5 groups of patient, and each has one row.*leave out --group"
    ):
        Exchangeability(5, np.arange(5), "within", "patient").require_some()
    with pytest.raises(StructureError, match=r"no two of them have as many rows.*--permute within"):
        Exchangeability(3, np.array([0, 1, 1]), "whole", "patient").require_some()


GROUPS = np.repeat(np.arange(16), 4)


def clustered_p(exchange: Exchangeability, seed: int) -> float:
    """The p-value of two unrelated sides, each of which has an effect of its own of every group: the null hypothesis
    holds, and the rows are not independent."""
    random = np.random.default_rng(seed)
    sides = []
    for _ in range(2):
        rows = random.normal(size=(16, 6))[GROUPS] + 0.7 * random.normal(size=(64, 6))
        distances = ((rows[:, None] - rows[None]) ** 2).sum(axis=2)
        np.fill_diagonal(distances, np.inf)
        sides.append(np.argsort(distances, axis=1)[None, :, :3].astype(np.int32))
    metric = MutualKnn(ComparedLayers(tables=(sides[0], sides[1])))
    informative = np.ones((1, 1), dtype=bool)
    largest = largest_permuted(metric, informative, exchange.permutations(19, seed=seed))
    return float(null_of(largest, metric.scores(), informative).p_values[0, 0])


def test_p_values_of_clustered_rows_are_uniform_only_when_permutations_keep_to_the_groups() -> None:
    trials = 200
    right: list[Permute] = ["within", "whole"]
    for permute in right:
        p = np.array([clustered_p(Exchangeability(64, GROUPS, permute), seed) for seed in range(trials)])
        for level in (0.05, 0.2, 0.5):
            error = math.sqrt(level * (1 - level) / trials)
            assert (p <= level + 1e-9).mean() < level + 3.3 * error, permute  # valid: not too often below
        assert (p <= 0.2 + 1e-9).mean() > 0.2 - 3.3 * math.sqrt(0.16 / trials) - 0.03, permute  # ties cost a little
    plain = np.array([clustered_p(Exchangeability(64), seed) for seed in range(60)])
    assert (plain <= 0.05 + 1e-9).mean() > 0.9  # nearly always "significant", and nothing is there


def test_an_interval_of_groups_is_that_of_resampled_groups() -> None:
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(12), random.integers(1, 6, 12))
    values = np.round(random.random(12)[groups] + 0.1 * random.random(len(groups)), 2)
    found, single = bootstrap(values, groups=groups, draws=4000), bootstrap(values, draws=4000)
    means = []
    for _ in range(4000):
        rows = np.concatenate([np.flatnonzero(groups == group) for group in random.integers(0, 12, 12)])
        means.append(values[rows].mean())
    np.testing.assert_allclose((found.low, found.high), np.quantile(means, [0.025, 0.975]), atol=0.02)
    assert found.high - found.low > 1.3 * (single.high - single.low)
    assert found.value == single.value == pytest.approx(values.mean())


def test_every_order_of_a_class_is_met_once() -> None:
    exchange = Exchangeability(4, np.array([0, 0, 0, 1]), "within", "patient")
    every = {tuple(found.tolist()) for found in exchange.permutations(99, seed=0)}
    assert every == {(*order, 3) for order in itertools.permutations(range(3))} - {(0, 1, 2, 3)}
