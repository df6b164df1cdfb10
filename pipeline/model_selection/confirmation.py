"""The confirmation of a choice, and the estimate of its score, on pairs outside the folds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from structure.pipeline.model_selection.budget import Budget
from structure.pipeline.model_selection.candidates import Candidate
from structure.pipeline.model_selection.criterion import pair_values, standard_error
from structure.pipeline.model_selection.evaluator import fit_on
from structure.pipeline.model_selection.folds import draw_rows
from structure.pipeline.model_selection.outcome import Estimate
from structure.pipeline.model_selection.paired_features import PairedFeatures

CONFIRMED_ON, CONFIRMED_FROM = 2000, 10_000
"""Held-out pairs of a confirmation, half of them for the estimate; its training pairs at most."""

HELD_OUT = "held-out: on pairs that neither trained nor chose it"

Cost = Callable[[Candidate, int], float]
"""(candidate, pairs) -> the declared cost of a fit."""


def most_pairs() -> int:
    """How many pairs a confirmation uses at most."""
    return CONFIRMED_ON + CONFIRMED_FROM


@dataclass(frozen=True)
class Confirmation:
    """Row numbers of the pairs that choose among rivals, of those that estimate the score of the choice, and of those
    that these may be fitted to; `pairs` of the last are."""

    choosing: np.ndarray
    estimating: np.ndarray
    training: np.ndarray
    pairs: int

    @classmethod
    def of(cls, groups: np.ndarray, outside: np.ndarray, *, seed: int) -> Confirmation:
        """A draw of whole groups: held-out pairs from those `outside` the folds, training pairs from all others."""
        test = draw_rows(outside, groups, min(CONFIRMED_ON, len(outside)), seed=seed + 1)
        choosing = draw_rows(test, groups, len(test) // 2, seed=seed + 2)
        others = np.setdiff1d(np.arange(len(groups)), test)
        training = draw_rows(others, groups, CONFIRMED_FROM, seed=seed + 3)
        return cls(choosing, np.setdiff1d(test, choosing), training, len(training))

    def within(
        self, budget: Budget, rivals: Sequence[Candidate], cost: Cost, *, least: int
    ) -> tuple[list[Candidate], int]:
        """The rivals, of whom the first is the choice, and the training pairs: as many, half as many and so on, but not
        below `least`, until all rivals are expected to be fitted in time; else those rivals that are."""
        for pairs in _halves(self.pairs, least):
            if budget.affords_all([(one.options.method, cost(one, pairs)) for one in rivals]):
                return list(rivals), pairs
        taken = [rivals[0]]
        for one in rivals[1:]:
            if budget.affords_all([(other.options.method, cost(other, pairs)) for other in (*taken, one)]):
                taken.append(one)
        return taken, pairs

    def confirm(
        self, features: PairedFeatures, rivals: Sequence[Candidate], *, pairs: int, select: str, seed: int
    ) -> tuple[Candidate, Estimate]:
        """The choice, which is first, unless a rival is better by more than one standard error on one half of the
        held-out pairs; the estimate is of the other half."""
        groups = features.groups
        training = draw_rows(self.training, groups, pairs, seed=seed + 3)
        fitted = [fit_on(one, features, training) for one in rivals]
        values = [
            pair_values(aligner, *features.scored(one, self.choosing), select=select)
            for one, aligner in zip(rivals, fitted, strict=True)
        ]
        gains = [value - values[0] for value in values]
        better = [n for n, gain in enumerate(gains) if gain.mean() > standard_error(gain, groups[self.choosing])]
        best = max(better, key=lambda number: float(values[number].mean()), default=0)
        unseen = pair_values(fitted[best], *features.scored(rivals[best], self.estimating), select=select)
        error = standard_error(unseen, groups[self.estimating])
        return rivals[best], Estimate(float(unseen.mean()), error, len(training), HELD_OUT)


def _halves(most: int, least: int) -> Iterator[int]:
    """`most`, half of it and so on, down to `least`; `most` at any rate."""
    yield most
    while (most := most // 2) >= least:
        yield most
