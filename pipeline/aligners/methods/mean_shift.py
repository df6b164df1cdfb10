"""`mean-shift`: the control that only centres each side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from structure.pipeline.aligners.closed_form import ClosedForm, require_equal_widths
from structure.pipeline.aligners.option_groups import PlainOptions
from structure.pipeline.aligners.training_data import Solution, TrainingData
from structure.pipeline.progress import Listener, silent


class MeanShift(ClosedForm[PlainOptions]):
    """Each side minus its mean; it needs equal widths."""

    about = "Control: each side is centred and nothing else; needs equal widths."
    options_class = PlainOptions

    def grid(self, *, widths: tuple[int, int], pairs: int) -> Sequence[Mapping[str, Any]]:
        return ({},) if widths[0] == widths[1] else ()

    def streams(self, options: PlainOptions) -> bool:
        return True

    def operations(self, options: PlainOptions, *, widths: tuple[int, int], pairs: int) -> float:
        from structure.pipeline.aligners.closed_form_cost import READ

        return READ * pairs * sum(widths)

    def dim(self, options: PlainOptions, *, widths: tuple[int, int], pairs: int) -> int:
        return widths[0]

    def solve(self, data: TrainingData, options: PlainOptions, on_event: Listener = silent) -> Solution:
        from structure.pipeline.aligners.csa_solver import moments_of
        from structure.pipeline.aligners.linear_maps import centred

        require_equal_widths(data, options.method)
        gathered = moments_of(data, needed=())
        return Solution((centred(gathered.mean_x), centred(gathered.mean_y)))
