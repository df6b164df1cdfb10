"""`relative`: each side relative to random training pairs."""

from __future__ import annotations

from dataclasses import dataclass

from structure.pipeline.aligners.closed_form import ClosedForm
from structure.pipeline.aligners.options import TrainingOptions, option
from structure.pipeline.aligners.training_data import Solution, TrainingData
from structure.pipeline.progress import Listener, Note, silent


@dataclass(frozen=True, kw_only=True)
class RelativeOptions(TrainingOptions):
    """Of relative representations."""

    anchors: int = option(512, "Random training pairs that are anchors.", above=0)


class Relative(ClosedForm[RelativeOptions]):
    """Relative representations (arXiv 2209.15430): cosines with random training pairs as anchors."""

    about = "Relative representations: a row is its cosines with random training pairs; nothing is trained."
    options_class = RelativeOptions

    def streams(self, options: RelativeOptions) -> bool:
        return True

    def operations(self, options: RelativeOptions, *, widths: tuple[int, int], pairs: int) -> float:
        return 0.0

    def dim(self, options: RelativeOptions, *, widths: tuple[int, int], pairs: int) -> int:
        return min(options.anchors, pairs)

    def solve(self, data: TrainingData, options: RelativeOptions, on_event: Listener = silent) -> Solution:
        from structure.pipeline.aligners.arrays import some_rows
        from structure.pipeline.aligners.heads.closed_heads import RelativeHead

        pairs = len(data.vision)
        count = min(options.anchors, pairs)
        if count < options.anchors:
            on_event(Note(f"relative has {count} anchors: there are no {options.anchors} training pairs"))
        sides = some_rows((data.vision, data.text), count, seed=options.seed)
        vision, text = (RelativeHead.of_anchors(side, keep=count, exponent=1) for side in sides)
        return Solution((vision, text), {"anchors": count})
