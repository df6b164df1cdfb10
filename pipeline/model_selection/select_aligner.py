"""`select_aligner`: what `structure align --method auto` does, on arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from structure.pipeline.aligners.aligner import Aligner
from structure.pipeline.aligners.aligner_method import Inputs, fit_data
from structure.pipeline.aligners.training_data import TrainingData
from structure.pipeline.model_selection.candidates import Layers
from structure.pipeline.model_selection.folds import joint_groups, row_keys
from structure.pipeline.model_selection.options import SelectionOptions
from structure.pipeline.model_selection.outcome import Selection
from structure.pipeline.model_selection.paired_features import PairedFeatures
from structure.pipeline.model_selection.select import select
from structure.pipeline.progress import Listener, silent
from structure.store.errors import StructureError

ONE = "features"
"""The name of a layer that is given without one."""


@dataclass(frozen=True)
class SelectedAligner:
    """The aligner of the chosen candidate, fitted to all pairs, and how it was chosen."""

    aligner: Aligner
    selection: Selection


def select_aligner(
    vision: Any,
    text: Any,
    *,
    groups: Any = None,
    options: SelectionOptions | None = None,
    seed: int = 42,
    on_event: Listener = silent,
) -> SelectedAligner:
    """Choose method, options and layers by cross-validation on these pairs, and fit the choice to all of them.

    `vision` is (n, width), or layer -> (n, width) for several; `text` the same; row i of both is one pair, and every
    vision layer meets every text layer. `groups` (n,), any values: rows of one value stay in one fold, as rows with
    equal features do. Raises StructureError for counts that differ, too few pairs, and where nothing can be fitted.
    """
    options = options or SelectionOptions()
    sides = [_layers(side) for side in (vision, text)]
    counts = {len(rows) for side in sides for rows in side.values()}
    if len(counts) != 1:
        raise StructureError(f"The layers have {sorted(counts)} rows; row i of each must be the same pair.")
    (rows,) = counts
    pairs = [(first, second) for first in sides[0] for second in sides[1]]
    named = [] if groups is None else [np.asarray(groups).tolist()]
    joined = joint_groups(rows, *(row_keys(next(iter(side.values()))) for side in sides), *named)
    both: dict[tuple[Inputs, Layers], tuple[Any, Any]] = {
        ("rows", (first, second)): (sides[0][first], sides[1][second]) for first, second in pairs
    }
    features = PairedFeatures(both, joined)
    selection = select(features, options, common={"seed": seed}, on_event=on_event)
    chosen = selection.chosen
    data = TrainingData(*features.of(chosen, np.arange(rows)), groups=joined)
    fitted = fit_data(data, chosen.options.changed(refit=True), on_event=on_event)
    return SelectedAligner(fitted.aligner, selection)


def _layers(side: Any) -> Mapping[str, np.ndarray]:
    """Layer -> rows, in memory."""
    named: Sequence[tuple[str, Any]] = list(side.items()) if isinstance(side, Mapping) else [(ONE, side)]
    return {name: np.asarray(rows) for name, rows in named}
