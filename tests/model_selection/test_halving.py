"""The planner of a selection: rounds grow, candidates fall, the best of the last round wins, a budget holds."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structure.pipeline.model_selection.budget import Budget, seconds_of
from structure.pipeline.model_selection.halving import (
    FACTOR,
    FINALISTS,
    LEAST_PAIRS,
    Entry,
    Scores,
    best_of_kinds,
    fits_at_most,
    race,
    ranked,
    round_sizes,
    survivors,
)
from structure.store.errors import StructureError


@given(st.integers(1, 100_000))
def test_rounds_grow_by_the_factor_up_to_all_pairs(pairs: int) -> None:
    sizes = round_sizes(pairs)
    assert sizes[-1] == pairs
    assert all(later // FACTOR == earlier for earlier, later in pairwise(sizes))
    assert len(sizes) == 1 or sizes[0] >= LEAST_PAIRS


def each(score: Callable[[int, int], float | None]) -> Scores:
    """The scores of several candidates, each by itself."""
    return lambda numbers, at: {n: value for n in numbers if (value := score(n, at)) is not None}


def entries(count: int, layers: int = 2) -> list[Entry]:
    return [Entry(number % layers, 1.0 + number, is_costly=number % 3 == 2) for number in range(count)]


@given(st.integers(1, 60), st.integers(1, 4), st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_the_last_round_decides_and_is_small(count: int, rounds: int, random: object) -> None:
    quality = [float(number) for number in random.sample(range(count), count)]  # type: ignore[attr-defined]
    field, asked = entries(count), []

    def score(number: int, at: int) -> float:
        asked.append((number, at))
        return quality[number]

    found = race(field, each(score), rounds=rounds)
    assert found is not None
    assert found.winner == max({number for number, _ in asked}, key=lambda number: quality[number])
    assert len(set(asked)) <= fits_at_most(field, rounds=rounds, folds=1)
    cheap = [{number for number in scores if not field[number].is_costly} for scores in found.rounds]
    run = [round for round in cheap if round]
    for earlier, later in pairwise(run):
        assert later < earlier
        assert max(earlier, key=lambda number: quality[number]) in later
    assert rounds == 1 or len(run[-1]) <= FINALISTS
    assert found.last == rounds - 1
    assert race(field, each(score), rounds=rounds) == found


def test_costly_candidates_join_in_the_last_round_on_the_layers_that_serve_the_cheap_best() -> None:
    field = [Entry(n % 2, 1.0) for n in range(12)] + [Entry(0, 9.0, is_costly=True), Entry(1, 9.0, is_costly=True)]
    field.append(Entry(0, 5.0, is_costly=True, kind="reads layers 0 alone"))
    scores = dict.fromkeys(range(12), 0.2) | {5: 0.5, 12: 0.9, 13: 0.6, 14: 0.1}
    found = race(field, each(lambda number, at: scores[number]), rounds=2)
    assert found is not None
    assert set(found.rounds[0]) == set(range(12))
    assert {number for number in found.rounds[1] if number >= 12} == {13, 14}
    assert found.winner == 13


def test_a_round_that_would_eliminate_nobody_is_not_run() -> None:
    asked: list[tuple[int, int]] = []
    field = [Entry(0, 1.0, is_costly=True, kind="linear") for _ in range(3)]
    found = race(field, each(lambda number, at: asked.append((number, at)) or float(number)), rounds=3)
    assert found is not None
    assert asked == [(0, 2), (1, 2), (2, 2)]
    assert (found.last, found.winner) == (2, 2)
    assert fits_at_most(field, rounds=3, folds=3) == 9


def test_a_tie_goes_to_the_cheaper_candidate() -> None:
    found = race([Entry(0, 5.0), Entry(0, 1.0)], each(lambda number, at: 0.5), rounds=1)
    assert found is not None
    assert found.winner == 1


def test_what_has_no_score_takes_no_part_and_an_earlier_round_decides_where_the_last_has_none() -> None:
    field = [Entry(0, float(number)) for number in range(9)]
    found = race(field, each(lambda number, at: None if at or number == 0 else 0.1 * number), rounds=2)
    assert found is not None
    assert (found.winner, len(found.rounds)) == (8, 1)
    assert race(field, each(lambda number, at: None), rounds=2) is None


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0.1, 9.0)), min_size=1, max_size=40), st.floats(1.0, 30.0))
def test_a_budget_is_not_passed_by_fits_that_take_what_they_declare(
    fits: list[tuple[str, float]], seconds: float
) -> None:
    clock = Clock()
    budget = Budget(seconds, clock)
    first = fits[0][1]
    for method, cost in fits:
        if budget.affords(method, cost):
            clock.now += cost
            budget.took(method, cost, cost)
    assert budget.fits >= 1
    assert budget.spent <= max(seconds, first) * (1 + 1e-9)


@pytest.mark.parametrize(("text", "seconds"), [("60s", 60), ("5m", 300), ("1h", 3600), (2.5, 2.5), ("90", 90)])
def test_a_budget_is_read(text: str | float, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-3s", "0", "5 parsecs"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(StructureError, match=r"--budget .*such as 60s"):
        seconds_of(text)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.floats(0, 1)), min_size=1, max_size=30), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_survivors_are_the_best_and_the_best_of_other_kinds(field: list[tuple[str, float]], most: int) -> None:
    made = [Entry(0, 1.0, kind=kind) for kind, _ in field]
    scores = {number: score for number, (_, score) in enumerate(field)}
    left, order = survivors(made, scores, most), ranked(made, scores)
    assert len(left) == len(set(left)) == min(most, len(field))
    assert order[: (len(left) + 1) // 2] == left[: (len(left) + 1) // 2] or most > len(field)
    for kind in {kind for kind, _ in field}:
        first = next(number for number in order if made[number].kind == kind)
        assert first in left or len({made[number].kind for number in left}) >= most // 2
    assert best_of_kinds(made, scores, 2)[0] == order[0]
    assert len({made[number].kind for number in best_of_kinds(made, scores, 4)}) == len({kind for kind, _ in field})


def test_variants_of_one_method_do_not_crowd_out_the_others() -> None:
    made = [Entry(0, 1.0, kind=kind) for kind in "aaaaabc"]
    scores = {number: 1 - number / 10 for number in range(7)}
    assert survivors(made, scores, 4) == [0, 1, 5, 6]
    assert survivors(made[:5], {number: scores[number] for number in range(5)}, 4) == [0, 1, 2, 3]


def test_cheap_candidates_do_not_win_a_round_that_the_best_one_could_not_afford() -> None:
    field = [Entry(0, 1.0, kind=f"cheap {number}") for number in range(8)] + [Entry(0, 9.0, kind="good")]
    field.append(Entry(0, 20.0, is_costly=True))
    found = race(field, each(lambda number, at: None if at and number == 8 else float(number)), rounds=2)
    assert found is not None
    assert (found.winner, len(found.rounds)) == (8, 1)
