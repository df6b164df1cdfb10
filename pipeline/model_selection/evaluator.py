"""Fits candidates on folds, each fit once, within a budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from structure.pipeline.aligners.aligner import Aligner
from structure.pipeline.aligners.aligner_method import Inputs, method
from structure.pipeline.aligners.training_data import TrainingData
from structure.pipeline.model_selection.budget import Budget
from structure.pipeline.model_selection.candidates import Candidate, Layers
from structure.pipeline.model_selection.criterion import pair_values
from structure.pipeline.model_selection.folds import draw_rows
from structure.store.errors import StructureError

METRICS_ALONE = 8
"""Validation pairs of a method that chooses nothing by them: training pairs, so that none need be held out."""


@dataclass(frozen=True)
class PairedFeatures:
    """Both sides of some layers by what a sample is ("rows", "tokens", "sets"), row i of each being one pair.

    `groups` (n,) int64: what stays in one fold.
    """

    sides: Mapping[tuple[Inputs, Layers], tuple[Any, Any]]
    groups: np.ndarray

    def __len__(self) -> int:
        return len(self.groups)

    def of(self, candidate: Candidate, rows: np.ndarray) -> tuple[Any, Any]:
        """The features that a candidate reads, of these rows."""
        vision, text = self.sides[candidate.inputs, candidate.layers]
        return taken(vision, rows), taken(text, rows)

    def widths(self, candidate: Candidate) -> tuple[int, int]:
        """Widths of both layers of a candidate."""
        vision, text = self.sides[candidate.inputs, candidate.layers]
        return int(vision.shape[1]), int(text.shape[1])


def taken(side: Any, rows: np.ndarray) -> Any:
    """These rows of an array, or of sequences."""
    return side[rows] if isinstance(side, np.ndarray) else side.take(rows)


def fit_on(candidate: Candidate, features: PairedFeatures, rows: np.ndarray) -> Aligner:
    """The aligner of a candidate from these pairs; groups stay on one side of its own validation split."""
    vision, text = features.of(candidate, rows)
    aligning = method(candidate.options.method)
    validation = None
    if not aligning.chooses_epoch:
        few = np.arange(min(METRICS_ALONE, len(rows)))
        validation = (taken(vision, few), taken(text, few))
    data = TrainingData(vision, text, validation=validation, groups=features.groups[rows])
    return aligning.fit(data, candidate.options).aligner


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
    has_result: bool = False
    """Whether a candidate was scored on all folds that were asked for: until then the budget stops nothing."""
    not_afforded: set[Candidate] = field(default_factory=set)
    seconds: dict[Candidate, float] = field(default_factory=dict)
    _values: dict[tuple[Candidate, int, int], np.ndarray] = field(default_factory=dict)

    def values(self, candidate: Candidate, at: int, fold: int) -> np.ndarray | None:
        """(pairs of the fold,) values of its held-out pairs in a round; None where the candidate has none."""
        key = (candidate, at, fold)
        if key in self._values:
            return self._values[key]
        cost = candidate.cost(self.features.widths(candidate), self.sizes[at])
        if candidate in self.refused:
            return None
        if self.has_result and not self.budget.affords(candidate.options.method, cost):
            self.not_afforded.add(candidate)
            return None
        began = self.budget.clock()
        training, test = self.rows(at, fold)
        try:
            aligner = fit_on(candidate, self.features, training)
            self._values[key] = pair_values(aligner, *self.features.of(candidate, test), select=self.select)
        except StructureError as error:
            self.refused[candidate] = str(error)
        took = self.budget.clock() - began
        self.budget.took(candidate.options.method, cost, took)
        self.seconds[candidate] = self.seconds.get(candidate, 0.0) + took
        self.on_fit(self.budget.fits)
        return self._values.get(key)

    def rows(self, at: int, fold: int) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers (training, held-out) of a fold in a round."""
        training = np.flatnonzero(self.fold_of != fold)
        chosen = draw_rows(training, self.features.groups, self.sizes[at], seed=self.seed + fold)
        return chosen, np.flatnonzero(self.fold_of == fold)

    def pooled(self, candidate: Candidate, at: int, folds: Sequence[int]) -> np.ndarray | None:
        """(pairs of these folds,) values, fold by fold; None where a fold has none."""
        parts = []
        for fold in folds:
            part = self.values(candidate, at, fold)
            if part is None:
                return None
            parts.append(part)
        self.has_result = True
        return np.concatenate(parts)

    def groups(self, folds: Sequence[int]) -> np.ndarray:
        """Groups of the values that `pooled` gives."""
        return np.concatenate([self.features.groups[self.fold_of == fold] for fold in folds])
