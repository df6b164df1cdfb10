"""Successive halving over candidates: many on few pairs, few on all. Numbers alone; nothing is fitted here.

After Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization" (AISTATS 2016).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

FACTOR = 3
"""A round has that many times the pairs of the one before, for one in so many candidates."""

LEAST_PAIRS = 150
"""Training pairs of a fold in the first round, where there are more."""

FINALISTS = 4
"""Cheap candidates of the last round at most."""

LEAST_LEFT = 4
"""Candidates that a round leaves at least, where there are so many."""


@dataclass(frozen=True)
class Entry:
    """A candidate as the planner sees it: which layers it reads, and what a fit costs (any unit, the same for all).
    `is_costly`: it joins in the last round, on the layers alone that serve the cheap candidates best. `kind`: what it
    is a variant of, a method."""

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
    def last(self) -> int:
        """The round that decided: the last in which a candidate has a score."""
        return max(at for at, scores in enumerate(self.rounds) if scores)

    @property
    def decisive(self) -> dict[int, float]:
        """The scores of that round."""
        return self.rounds[self.last]


Scores = Callable[[Sequence[int], int], dict[int, float]]
"""(candidates, round) -> their scores, higher is better, without those that have none: they cannot be fitted, or took
too long. What comes first is tried first."""


def round_sizes(pairs: int) -> tuple[int, ...]:
    """Training pairs of a fold in every round, ascending; the last round has all `pairs`."""
    sizes = [pairs]
    while sizes[0] // FACTOR >= LEAST_PAIRS:
        sizes.insert(0, sizes[0] // FACTOR)
    return tuple(sizes)


def race(entries: Sequence[Entry], scores: Scores, *, rounds: int) -> Race | None:
    """Run the rounds; None where no candidate has a score.

    Cheap candidates are halved from round to round; costly ones meet those that are left in the last round, and are
    halved themselves where no cheap one has a score. A round that would eliminate nobody is not run. In the first round
    the layers of low number and the cheap go first, later the best, so that what a budget leaves out is what costs most
    or promises least. A tie goes to the cheaper candidate. Where the best candidate so far has no score in a round, the
    rounds before decide.
    """
    order = sorted(range(len(entries)), key=lambda number: (entries[number].layers, entries[number].cost))
    costly = [number for number in order if entries[number].is_costly]
    found = _halved(entries, [number for number in order if not entries[number].is_costly], costly, scores, rounds)
    if not any(found):
        found = _halved(entries, costly, [], scores, rounds)
    if not any(found):
        return None
    decisive = [these for these in found if these][-1]
    return Race(tuple(found), ranked(entries, decisive)[0])


def _halved(
    entries: Sequence[Entry], numbers: Sequence[int], later: Sequence[int], scores: Scores, rounds: int
) -> list[dict[int, float]]:
    """The scores of each round, as far as it came; none of a round that is not run. Of the `later` candidates some join
    in the last round."""
    found: list[dict[int, float]] = []
    left = list(numbers)
    for at in range(rounds):
        is_last, is_next_last = at == rounds - 1, at + 1 == rounds - 1
        if not is_last and left_after(len(left), is_last=is_next_last) >= len(left):
            found.append({})
            continue
        joined = joining(entries, later, found) if is_last and any(found) else []
        these = scores([*left, *joined], at)
        if any(found) and left[0] not in these:  # too costly: the cheap ones alone would win for being cheap
            break
        found.append(these)
        left = survivors(entries, these, left_after(len(these), is_last=is_next_last))
    if len(found) == rounds and later and not any(found[:-1]):  # compared with the others, whose scores are there
        found[-1] = scores([*found[-1], *joining(entries, later, found)], rounds - 1)
    return found


def joining(entries: Sequence[Entry], costly: Sequence[int], found: Sequence[dict[int, float]]) -> list[int]:
    """Which of the `costly` candidates join, the cheapest first: those of each kind that read the layers, of all that
    the kind reads, which serve the cheap candidates best by the rounds that are `found`."""
    order = dict.fromkeys(entries[number].layers for scores in reversed(found) for number in ranked(entries, scores))
    places = {layers: place for place, layers in enumerate(order)}

    def place(number: int) -> int:
        return places.get(entries[number].layers, len(places) + entries[number].layers)

    best: dict[str, int] = {}
    for number in costly:
        kind = entries[number].kind
        best[kind] = min(best.get(kind, place(number)), place(number))
    joined = [number for number in costly if place(number) == best[entries[number].kind]]
    return sorted(joined, key=lambda number: entries[number].cost)


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


def fits_at_most(entries: Sequence[Entry], *, rounds: int, folds: int) -> int:
    """How many fits a race takes at most, without what the estimate of the winner's score adds."""
    costly: dict[str, Counter[int]] = {}
    for entry in entries:
        if entry.is_costly:
            costly.setdefault(entry.kind, Counter())[entry.layers] += 1
    joined = sum(max(counts.values()) for counts in costly.values())
    cheap = sum(not entry.is_costly for entry in entries)
    total, left = joined if cheap else 0, cheap or len(entries)
    for at in range(rounds):
        after = left_after(left, is_last=at + 1 == rounds - 1)
        if at < rounds - 1 and after >= left:
            continue
        total += left
        left = min(left, after)
    return total * folds
