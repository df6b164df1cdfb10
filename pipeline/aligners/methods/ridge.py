"""`ridge`: text features are predicted from vision features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from structure.pipeline.aligners.closed_form import ClosedForm
from structure.pipeline.aligners.options import TrainingOptions, option
from structure.pipeline.aligners.training_data import Solution, TrainingData
from structure.pipeline.progress import Listener, silent


@dataclass(frozen=True, kw_only=True)
class RidgeOptions(TrainingOptions):
    """Of ridge regression."""

    ridge: float = option(0.1, "Penalty, as a share of the mean variance of the vision features.", least=0)


class Ridge(ClosedForm[RidgeOptions]):
    """Ridge regression of text features on vision features; the shared space is the text layer's own."""

    about = "Ridge regression from vision to text features; the shared space is the text layer's own."
    options_class = RidgeOptions

    def grid(self, *, widths: tuple[int, int], pairs: int) -> Sequence[Mapping[str, Any]]:
        return ({"ridge": 0.1}, {"ridge": 1.0})

    def streams(self, options: RidgeOptions) -> bool:
        return True

    def operations(self, options: RidgeOptions, *, widths: tuple[int, int], pairs: int) -> float:
        from structure.pipeline.aligners.closed_form_cost import READ

        first = widths[0]
        return pairs * (READ * sum(widths) + 2.0 * first * sum(widths)) + 2.0 * first**3

    def dim(self, options: RidgeOptions, *, widths: tuple[int, int], pairs: int) -> int:
        return widths[1]

    def solve(self, data: TrainingData, options: RidgeOptions, on_event: Listener = silent) -> Solution:
        from structure.pipeline.aligners.csa_solver import moments_of
        from structure.pipeline.aligners.linear_maps import ridge

        heads = ridge(moments_of(data, needed=("xx", "xy")), share=options.ridge)
        return Solution(heads, {"ridge": options.ridge})
