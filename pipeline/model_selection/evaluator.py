"""Fits candidates on folds, each fit once, within a budget."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from structure.pipeline.aligners.aligner import Aligner
from structure.pipeline.aligners.aligner_method import fit_data, method
from structure.pipeline.aligners.training_data import TrainingData
from structure.pipeline.model_selection.budget import Budget
from structure.pipeline.model_selection.candidates import Candidate
from structure.pipeline.model_selection.criterion import pair_values, standard_error
from structure.pipeline.model_selection.folds import draw_rows
from structure.pipeline.model_selection.paired_features import PairedFeatures
from structure.store.errors import StructureError

METRICS_ALONE = 8
"""Validation pairs of a method that chooses nothing by them: training pairs, so that none need be held out."""

BEHIND = 3.0
"""Standard errors that a candidate is behind the best one on the first folds of the last round when the other folds are
left out."""


def fit_on(
    candidate: Candidate, features: PairedFeatures, rows: np.ndarray, shared: dict[str, Any] | None = None
) -> Aligner:
    """The aligner of a candidate from these pairs; groups stay on one side of its own validation split. `shared` keeps
    what fits to the same rows of the same layers have in common."""
    vision, text = features.of(candidate, rows)
    aligning = method(candidate.options.method)
    validation = None
    if not aligning.chooses_epoch:
        few = rows[:METRICS_ALONE]
        validation = features.of(candidate, few)
    data = TrainingData(
        vision,
        text,
        validation=validation,
        groups=features.groups[rows],
        unpaired=features.unpaired_of(candidate),
        shared=shared,
    )
    return fit_data(data, candidate.options).aligner


@dataclass
class Evaluator:
    """Values of every held-out pair for (candidate, round, fold), computed once.

    `fold_of` (n,) is the fold of each row; `sizes` the training pairs of a fold in every round.
    """

    features: PairedFeatures
    fold_of: np.ndarray
    sizes: Sequence[int]
    budget: Budget
    select: str
    seed: int
    on_fit: Callable[[int], None] = lambda count: None
    refused: dict[Candidate, str] = field(default_factory=dict)
    not_afforded: set[Candidate] = field(default_factory=set)
    seconds: dict[Candidate, float] = field(default_factory=dict)
    _values: dict[tuple[Candidate, int, int], np.ndarray] = field(default_factory=dict)
    _shared: tuple[Any, dict[str, Any]] = (None, {})

    @property
    def folds(self) -> range:
        """All folds."""
        return range(int(self.fold_of.max()) + 1)

    def scores(
        self, candidates: Sequence[Candidate], at: int, folds: Sequence[int], *, as_is: Collection[Candidate] = ()
    ) -> dict[Candidate, float]:
        """The means over all pairs of these folds in a round, of those that have one; nothing is fitted `as_is`.

        All go through a fold before the next one begins, and in the last round those that are far behind the best are
        not fitted on the folds that follow. Of a candidate that lacks folds, for this reason or for want of time, the
        score is that of the best one of those that have most, and the difference on the folds of both.
        """
        order = dict.fromkeys((one.inputs, one.layers) for one in candidates)
        left = [one for of in order for one in candidates if (one.inputs, one.layers) == of and one not in as_is]
        for number, fold in enumerate(folds, start=1):
            left = [one for one in left if self.values(one, at, fold) is not None]
            if at == len(self.sizes) - 1:
                left = self._near(left, at, folds[:number])
        found = {one: self.folds_of(one, at, folds) for one in candidates if one not in self.refused}
        most = max(map(len, found.values()), default=0)
        if not most:
            return {}
        means = {one: self.mean(one, at, has) for one, has in found.items() if len(has) == most}
        best = max(means, key=lambda one: means[one])
        for one, has in found.items():
            if one not in means and set(has) & set(found[best]):
                means[one] = means[best] + self.difference(one, best, at, folds)[0]
        return means

    def _near(self, candidates: Sequence[Candidate], at: int, folds: Sequence[int]) -> list[Candidate]:
        """Those that are not far behind the best of them on these folds, which all have."""
        best = max(candidates, key=lambda one: self.mean(one, at, folds), default=None)
        gains = {one: self.difference(one, best, at, folds) for one in candidates if best is not None}
        return [one for one, (gain, error) in gains.items() if gain >= -BEHIND * error]

    def mean(self, candidate: Candidate, at: int, folds: Sequence[int]) -> float:
        """Mean over the pairs of these folds, which it has."""
        return float(np.concatenate([self._values[candidate, at, fold] for fold in folds]).mean())

    def values(self, candidate: Candidate, at: int, fold: int) -> np.ndarray | None:
        """(pairs of the fold,) values of its held-out pairs in a round; None where the candidate has none."""
        key = (candidate, at, fold)
        if key in self._values:
            return self._values[key]
        cost = self.features.cost(candidate, self.sizes[at])
        if candidate in self.refused:
            return None
        if not self.budget.affords(candidate.options.method, cost):
            self.not_afforded.add(candidate)
            return None
        began = self.budget.clock()
        try:
            self._values[key] = self.fitted(candidate, at, fold)
        except StructureError as error:
            self.refused[candidate] = str(error)
        took = self.budget.clock() - began
        self.budget.took(candidate.options.method, cost, took)
        self.seconds[candidate] = self.seconds.get(candidate, 0.0) + took
        self.on_fit(self.budget.fits)
        return self._values.get(key)

    def fitted(self, candidate: Candidate, at: int, fold: int) -> np.ndarray:
        """The values from a fit. Raises StructureError as `Method.fit` does."""
        training, test = self.rows(at, fold)
        aligner = fit_on(candidate, self.features, training, self._in_common(candidate, at, fold))
        return pair_values(aligner, *self.features.scored(candidate, test), select=self.select)

    def folds_of(self, candidate: Candidate, at: int, folds: Sequence[int] | None = None) -> list[int]:
        """The folds, of all or of some, on which it was fitted in a round."""
        return [fold for fold in folds or self.folds if (candidate, at, fold) in self._values]

    def difference(self, one: Candidate, other: Candidate, at: int, folds: Sequence[int]) -> tuple[float, float]:
        """Mean and standard error of what `one` is better by, pair by pair, on the folds that both have."""
        both = [fold for fold in self.folds_of(one, at, folds) if (other, at, fold) in self._values]
        gain = np.concatenate([self._values[one, at, fold] - self._values[other, at, fold] for fold in both])
        return float(gain.mean()), standard_error(gain, self.groups(both))

    def spread(self, one: Candidate, other: Candidate, at: int, folds: Sequence[int]) -> float:
        """Standard error of what `one` is better by, from how much the folds differ: it holds the luck of a training,
        which the pairs of a fold have in common."""
        gains = [self.difference(one, other, at, [fold])[0] for fold in folds]
        return float(np.std(gains, ddof=1) / np.sqrt(len(gains)))

    def error(self, candidate: Candidate, at: int) -> float:
        """Standard error of its mean over the folds that it has."""
        folds = self.folds_of(candidate, at)
        values = np.concatenate([self._values[candidate, at, fold] for fold in folds])
        return standard_error(values, self.groups(folds))

    def rows(self, at: int, fold: int) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers (training, held-out) of a fold in a round."""
        training = np.flatnonzero(self.fold_of != fold)
        chosen = draw_rows(training, self.features.groups, self.sizes[at], seed=self.seed + fold)
        return chosen, np.flatnonzero(self.fold_of == fold)

    def groups(self, folds: Sequence[int]) -> np.ndarray:
        """Groups of the held-out pairs of these folds, fold by fold."""
        return np.concatenate([self.features.groups[self.fold_of == fold] for fold in folds])

    def _in_common(self, candidate: Candidate, at: int, fold: int) -> dict[str, Any]:
        """What fits to the same rows of the same layers share; it is kept for one of these at a time."""
        of = (at, fold, candidate.inputs, candidate.layers)
        if self._shared[0] != of:
            self._shared = (of, {})
        return self._shared[1]
