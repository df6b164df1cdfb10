"""`mini-vec2vec`: a map between two spaces from unpaired rows alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from structure.pipeline.aligners.closed_form import UnpairedMethod
from structure.pipeline.aligners.options import TrainingOptions, option
from structure.pipeline.aligners.training_data import Solution, TrainingData
from structure.pipeline.progress import Listener, Note, Progress, silent


@dataclass(frozen=True, kw_only=True)
class MiniVec2VecOptions(TrainingOptions):
    """Of matching and refinements."""

    rounds: int = option(30, "Rounds of k-means whose centres become anchors.", above=0)
    centres: int = option(20, "Centres of each side and round.", above=1)
    drawn: int = option(10_000, "Rows of each side that a round draws, at most.", above=0)
    restarts: int = option(30, "Random starts of each matching of centres.", above=0)
    neighbours: int = option(50, "Nearest rows whose mean is a row's target.", above=0)
    refinements: int = option(100, "Refinements with targets in the other space.", least=0)
    refined: int = option(1000, "Rows that a refinement draws, at most.", above=0)
    last_refinement: bool = option(
        False, "A last refinement by 500 centres of each side, as published; below some 10,000 rows it hurts."
    )


class MiniVec2Vec(UnpairedMethod[MiniVec2VecOptions]):
    """mini-vec2vec (arXiv 2510.02348), see `few_pairs.vec2vec`."""

    about = "mini-vec2vec: clusters of unpaired rows are matched by their similarities, and the map is refined."
    options_class = MiniVec2VecOptions
    least_pairs = 0
    reads_pairs = False
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {"last_refinement": True}}

    def passes(self, options: MiniVec2VecOptions) -> int:
        return options.rounds + options.refinements

    def dim(self, options: MiniVec2VecOptions, *, widths: tuple[int, int], pairs: int) -> int:
        return widths[1]

    def cost(self, options: MiniVec2VecOptions, *, widths: tuple[int, int], pairs: int) -> float:
        rows = min(options.drawn, 2000)  # there are seldom more
        of_centres = 20.0 * rows * options.centres * sum(widths)
        of_rows = 4.0 * options.refined * rows * widths[1]
        return options.rounds * of_centres + options.refinements * of_rows

    def solve(self, data: TrainingData, options: MiniVec2VecOptions, on_event: Listener = silent) -> Solution:
        from structure.pipeline.aligners.few_pairs.unpaired_sides import UnpairedSides
        from structure.pipeline.aligners.few_pairs.vec2vec import LAST_CENTRES, Vec2Vec
        from structure.pipeline.aligners.training import pick_device

        sides = UnpairedSides.of(data, options.method, device=pick_device(options.device))
        if len(data.vision):
            on_event(Note(f"mini-vec2vec reads no pairs: the {len(data.vision):,} training pairs are not used"))
        solver = Vec2Vec(
            rounds=options.rounds,
            centres=options.centres,
            drawn=options.drawn,
            restarts=options.restarts,
            neighbours=options.neighbours,
            refinements=options.refinements,
            refined=options.refined,
            last_centres=LAST_CENTRES if options.last_refinement else 0,
        )

        def told(what: str, done: int, total: int) -> None:
            on_event(Progress(what, done, total, "steps"))

        weights = solver.fit(sides.x, sides.y, seed=options.seed, on_step=told)
        return Solution(sides.heads_into_text(weights), sides.facts)
