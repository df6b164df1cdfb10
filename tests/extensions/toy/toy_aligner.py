"""An aligner of another package: least squares from vision to text features, all weights shrunk by one factor."""

from __future__ import annotations

from dataclasses import dataclass

from structure.pipeline.aligners.closed_form import ClosedForm
from structure.pipeline.aligners.csa_solver import pair_moments
from structure.pipeline.aligners.linear_maps import ridge
from structure.pipeline.aligners.options import TrainingOptions, option
from structure.pipeline.aligners.training_data import Solution, TrainingData
from structure.pipeline.progress import Listener, silent


@dataclass(frozen=True, kw_only=True)
class ShrunkOptions(TrainingOptions):
    """Of shrunk regression."""

    shrinkage: float = option(0.2, "Penalty, as a share of the mean variance of the vision features.", above=0)


class ShrunkRegression(ClosedForm[ShrunkOptions]):
    """Its shared space is the text layer's own."""

    about = "Regression from vision to text features, shrunk."
    options_class = ShrunkOptions

    def dim(self, options: ShrunkOptions, *, widths: tuple[int, int], pairs: int) -> int:
        return widths[1]

    def solve(self, data: TrainingData, options: ShrunkOptions, on_event: Listener = silent) -> Solution:
        return Solution(ridge(pair_moments(data.vision, data.text), share=options.shrinkage))
