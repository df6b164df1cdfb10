"""`sotalign`: a ridge-CCA teacher of the pairs, and students under KLOT on unpaired rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from structure.pipeline.aligners.closed_form import UnpairedMethod
from structure.pipeline.aligners.few_pairs.sotalign_options import SotalignOptions
from structure.pipeline.aligners.training_data import Solution, TrainingData
from structure.pipeline.progress import Listener, silent


class Sotalign(UnpairedMethod[SotalignOptions]):
    """SOTAlign (arXiv 2602.23353), see `few_pairs`."""

    about = "SOTAlign: ridge CCA of a few pairs teaches linear maps that keep its transport plan of unpaired rows."
    options_class = SotalignOptions
    least_pairs = 1
    presets: ClassVar[Mapping[str, Mapping[str, Any] | None]] = {
        "paper": {
            "dim": 1024,
            "ridge": 0.1,
            "alpha": 1e-4,
            "epsilon_teacher": 0.005,
            "steps": 2000,
            "learning_rate": 1e-4,
            "weight_decay": 1e-5,
        },
        "released": None,
    }

    def passes(self, options: SotalignOptions) -> int:
        return options.steps

    def dim(self, options: SotalignOptions, *, widths: tuple[int, int], pairs: int) -> int:
        return max(1, min(options.dim, *widths, pairs - 1)) if pairs > 1 else widths[1]

    def cost(self, options: SotalignOptions, *, widths: tuple[int, int], pairs: int) -> float:
        dim = self.dim(options, widths=widths, pairs=pairs)
        of_rows = 12.0 * (options.batch + min(pairs, options.batch)) * sum(widths) * dim
        return options.steps * (of_rows + 12.0 * options.batch**2 * (options.iterations + dim))

    def solve(self, data: TrainingData, options: SotalignOptions, on_event: Listener = silent) -> Solution:
        from structure.pipeline.aligners.few_pairs.ridge_cca import teacher_of
        from structure.pipeline.aligners.few_pairs.sotalign_training import train_students
        from structure.pipeline.aligners.few_pairs.unpaired_sides import UnpairedSides
        from structure.pipeline.aligners.heads.vector_heads import LinearHead
        from structure.pipeline.aligners.training import pick_device

        sides = UnpairedSides.of(data, options.method, device=pick_device(options.device))
        teacher = teacher_of(sides.pairs_x, sides.pairs_y, dim=options.dim, ridge=options.ridge)
        (of_x, of_y), parts = train_students(sides, teacher, options, on_event)
        heads = (LinearHead.of_map(of_x.cpu(), sides.mean_x.cpu()), LinearHead.of_map(of_y.cpu(), sides.mean_y.cpu()))
        return Solution(heads, {**sides.facts, "last_step": parts})
