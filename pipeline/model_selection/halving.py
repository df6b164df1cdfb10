"""Successive halving over candidates: many on few pairs, few on all. Numbers alone; nothing is fitted here.

After Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization" (AISTATS 2016).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

FACTOR = 3
"""A round has that many times the pairs of the one before, for one in so many candidates."""

LEAST_PAIRS = 200
"""Training pairs of a fold in the first round, where there are more."""

FINALISTS = 4
"""Candidates of the last round at most."""

LEAST_LEFT = 4
"""Candidates that a round leaves at least, where there are so many."""

LAYERS_OF_COSTLY = 1
"""Layer candidates on which costly methods are tried: the best of the cheap ones."""


@dataclass(frozen=True)
class Entry:
    """A candidate as the planner sees it: which layers it reads, and what a fit costs (any unit, the same for all).
    `is_costly`: it is tried on the layers alone that serve the cheap candidates best. `kind`: what it is a variant of,
    a method."""

    layers: int
    cost: float
    is_costly: bool = False
    kind: str = ""


@dataclass(frozen=True)
class Race:
    """What a race has found: for every round the score of each candidate that was in it, and the winner's number."""

    rounds: tuple[dict[int, float], ...]
    winner: int

    @property
    def scores(self) -> dict[int, float]:
        """Candidate -> score in the last round that it was in."""
        return {number: score for scores in self.rounds for number, score in scores.items()}


Score = Callable[[int, int], float | None]
"""(candidate, round) -> its score, higher is better; None where it has none: it cannot be fitted, or was too long."""


def round_sizes(pairs: int) -> tuple[int, ...]:
    """Training pairs of a fold in every round, ascending; the last round has all `pairs`."""
    sizes = [pairs]
    while sizes[0] // FACTOR >= LEAST_PAIRS:
        sizes.insert(0, sizes[0] // FACTOR)
    return tuple(sizes)


def race(entries: Sequence[Entry], score: Score, *, rounds: int) -> Race | None:
    """Run the rounds; None where no candidate has a score.

    The first round tries cheap candidates first, later ones the best first, so that what a budget leaves out is what
    costs most or promises least. A tie goes to the cheaper candidate. Where the best candidate so far has no score in a
    round, the round before decides.
    """
    order = sorted(range(len(entries)), key=lambda number: entries[number].cost)
    cheap = [number for number in order if not entries[number].is_costly]
    first = _scored(cheap, score, 0)
    layers = best_layers(entries, first) if first else {entry.layers for entry in entries}
    first |= _scored([n for n in order if entries[n].is_costly and entries[n].layers in layers], score, 0)
    if not first:
        return None
    found = [first]
    for at in range(1, rounds):
        most = left_after(len(found[-1]), is_last=at == rounds - 1)
        first_of_all, *others = survivors(entries, found[-1], most)
        scores = _scored([first_of_all], score, at)
        if not scores:  # too costly for what is left: the cheap ones alone would win for being cheap
            break
        scores |= _scored(others, score, at)
        found.append(scores)
    return Race(tuple(found), ranked(entries, found[-1])[0])


def left_after(count: int, *, is_last: bool) -> int:
    """How many of `count` candidates go on to the next round, which may be the last."""
    most = max(LEAST_LEFT, count // FACTOR)
    return min(most, FINALISTS) if is_last else most


def survivors(entries: Sequence[Entry], scores: dict[int, float], most: int) -> list[int]:
    """Who goes on, by falling score: half of `most` by score alone, the rest the best of each kind that is not among
    them yet, then by score. Methods gain from pairs unequally, and variants of one method would crowd out the others.
    """
    order = ranked(entries, scores)
    taken = order[: (most + 1) // 2]
    kinds = {entries[number].kind for number in taken}
    for number in order:
        if len(taken) < most and entries[number].kind not in kinds:
            taken.append(number)
            kinds.add(entries[number].kind)
    taken += [number for number in order if number not in taken][: max(most - len(taken), 0)]
    return [number for number in order if number in taken]


def best_of_kinds(entries: Sequence[Entry], scores: dict[int, float], most: int) -> list[int]:
    """The best candidate of each of the `most` best kinds, by falling score."""
    first: dict[str, int] = {}
    for number in ranked(entries, scores):
        first.setdefault(entries[number].kind, number)
    return list(first.values())[:most]


def ranked(entries: Sequence[Entry], scores: dict[int, float]) -> list[int]:
    """Candidates by falling score, the cheaper first in a tie."""
    return sorted(scores, key=lambda number: (-scores[number], entries[number].cost, number))


def best_layers(entries: Sequence[Entry], scores: dict[int, float]) -> set[int]:
    """The layers whose best candidate scores highest."""
    order = dict.fromkeys(entries[number].layers for number in ranked(entries, scores))
    return set(list(order)[:LAYERS_OF_COSTLY])


def _scored(numbers: Sequence[int], score: Score, at: int) -> dict[int, float]:
    found = {number: score(number, at) for number in numbers}
    return {number: value for number, value in found.items() if value is not None}


def fits_at_most(entries: Sequence[Entry], *, rounds: int, folds: int) -> int:
    """How many fits a race takes at most, without what the estimate of the winner's score adds."""
    costly = Counter(entry.layers for entry in entries if entry.is_costly)
    cheap = len(entries) - costly.total()
    tried = costly.most_common(LAYERS_OF_COSTLY) if cheap else costly.most_common()
    count = cheap + sum(number for _, number in tried)
    total = count
    for at in range(1, rounds):
        count = min(count, left_after(count, is_last=at == rounds - 1))
        total += count
    return total * folds
