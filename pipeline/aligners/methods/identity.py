"""`identity`: features as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from structure.pipeline.aligners.closed_form import ClosedForm, require_equal_widths
from structure.pipeline.aligners.option_groups import PlainOptions
from structure.pipeline.aligners.training_data import Solution, TrainingData
from structure.pipeline.progress import Listener, silent


class Identity(ClosedForm[PlainOptions]):
    """Nothing at all: the two towers of a contrastive model (layers pooled,pooled) evaluated as they are."""

    about = "Control: features as they are, such as the two towers of a contrastive model; needs equal widths."
    options_class = PlainOptions

    def grid(self, *, widths: tuple[int, int], pairs: int) -> Sequence[Mapping[str, Any]]:
        return ({},) if widths[0] == widths[1] else ()

    def streams(self, options: PlainOptions) -> bool:
        return True

    def operations(self, options: PlainOptions, *, widths: tuple[int, int], pairs: int) -> float:
        return 0.0

    def dim(self, options: PlainOptions, *, widths: tuple[int, int], pairs: int) -> int:
        return widths[0]

    def solve(self, data: TrainingData, options: PlainOptions, on_event: Listener = silent) -> Solution:
        from structure.pipeline.aligners.heads.closed_heads import IdentityHead

        width = require_equal_widths(data, options.method)
        return Solution((IdentityHead(width, width), IdentityHead(width, width)))
