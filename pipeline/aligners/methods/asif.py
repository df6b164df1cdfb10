"""`asif`: each side relative to the training pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from structure.pipeline.aligners.closed_form import ClosedForm
from structure.pipeline.aligners.options import TrainingOptions, option
from structure.pipeline.aligners.training_data import Solution, TrainingData
from structure.pipeline.progress import Listener, Note, silent

SEARCHED = 4000.0
"""Operations that take as long as one cosine's part in a search for the largest."""


@dataclass(frozen=True, kw_only=True)
class AsifOptions(TrainingOptions):
    """Of ASIF's sparse relative representation."""

    nearest: int = option(800, "Training pairs that count for a row.", above=0)
    exponent: int = option(8, "Of the cosines.", above=0)
    most_anchors: int | None = option(
        8192, "Training pairs that are anchors, at most, drawn by the seed; none: all.", above=0
    )


class Asif(ClosedForm[AsifOptions]):
    """ASIF (arXiv 2210.01738): the cosines with the nearest training pairs, raised to an exponent. As published all
    training pairs are anchors."""

    about = "ASIF: a row is its cosines with the nearest training pairs, raised to an exponent; nothing is trained."
    options_class = AsifOptions

    def grid(self, *, widths: tuple[int, int], pairs: int) -> Sequence[Mapping[str, Any]]:
        return ({}, {"nearest": max(16, pairs // 10)})

    def streams(self, options: AsifOptions) -> bool:
        return options.most_anchors is not None

    def operations(self, options: AsifOptions, *, widths: tuple[int, int], pairs: int) -> float:
        from structure.pipeline.aligners.held_out import held_out_pairs

        # The largest cosines of each held-out row are looked for, on both sides.
        held = held_out_pairs(pairs, options.validation)
        return 2.0 * held * self.dim(options, widths=widths, pairs=pairs) * SEARCHED

    def dim(self, options: AsifOptions, *, widths: tuple[int, int], pairs: int) -> int:
        return pairs if options.most_anchors is None else min(options.most_anchors, pairs)

    def solve(self, data: TrainingData, options: AsifOptions, on_event: Listener = silent) -> Solution:
        from structure.pipeline.aligners.arrays import some_rows
        from structure.pipeline.aligners.heads.closed_heads import RelativeHead

        pairs, count = len(data.vision), self.dim(options, widths=data.widths, pairs=len(data.vision))
        if count < pairs:
            told = "--set most_anchors=none: all, with as many dimensions"
            on_event(Note(f"asif has {count:,} of {pairs:,} training pairs as anchors; {told}"))
        if options.nearest >= count:
            on_event(Note(f"asif keeps the nearest {options.nearest} of {count} pairs: all of them"))
        sides = some_rows((data.vision, data.text), count, seed=options.seed)
        vision, text = (
            RelativeHead.of_anchors(side, keep=options.nearest, exponent=options.exponent) for side in sides
        )
        return Solution((vision, text), {"anchors": count})
