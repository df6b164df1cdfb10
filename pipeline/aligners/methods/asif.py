"""`asif`: each side relative to all training pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from structure.pipeline.aligners.closed_form import ClosedForm
from structure.pipeline.aligners.options import TrainingOptions, option
from structure.pipeline.aligners.training_data import Solution, TrainingData
from structure.pipeline.progress import Listener, Note, silent


@dataclass(frozen=True, kw_only=True)
class AsifOptions(TrainingOptions):
    """Of ASIF's sparse relative representation."""

    nearest: int = option(800, "Training pairs that count for a row.", above=0)
    exponent: int = option(8, "Of the cosines.", above=0)


class Asif(ClosedForm[AsifOptions]):
    """ASIF (arXiv 2210.01738): the cosines with the nearest training pairs, raised to an exponent."""

    about = "ASIF: a row is its cosines with the nearest training pairs, raised to an exponent; nothing is trained."
    options_class = AsifOptions

    def grid(self, *, widths: tuple[int, int], pairs: int) -> Sequence[Mapping[str, Any]]:
        return ({}, {"nearest": max(16, pairs // 10)})

    def dim(self, options: AsifOptions, *, widths: tuple[int, int], pairs: int) -> int:
        return pairs

    def solve(self, data: TrainingData, options: AsifOptions, on_event: Listener = silent) -> Solution:
        from structure.pipeline.aligners.arrays import whole
        from structure.pipeline.aligners.heads.closed_heads import RelativeHead

        pairs = len(data.vision)
        if options.nearest >= pairs:
            on_event(Note(f"asif keeps the nearest {options.nearest} of {pairs} pairs: all of them"))
        vision, text = (
            RelativeHead.of_anchors(whole(side), keep=options.nearest, exponent=options.exponent)
            for side in (data.vision, data.text)
        )
        return Solution((vision, text))
