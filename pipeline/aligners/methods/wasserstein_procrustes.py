"""`wasserstein-procrustes`: a rotation between two sets of rows of which few pairs are known, or none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from structure.pipeline.aligners.closed_form import UnpairedMethod
from structure.pipeline.aligners.options import TrainingOptions, option
from structure.pipeline.aligners.training_data import Solution, TrainingData
from structure.pipeline.progress import Listener, Progress, silent


@dataclass(frozen=True, kw_only=True)
class WassersteinProcrustesOptions(TrainingOptions):
    """Of start and matching."""

    centres: int = option(30, "Centres of each side in a draw of the geometric start.", above=1)
    restarts: int = option(30, "Draws of the geometric start, which is their mean.", above=0)
    block: int = option(500, "Rows of each side that are matched one to one at a time; 10,000 as published.", above=0)
    rounds: int = option(100, "Rounds of matching and rotating.", least=0)


class WassersteinProcrustes(UnpairedMethod[WassersteinProcrustesOptions]):
    """Wasserstein Procrustes with a geometric start (arXiv 2610.09411), see `few_pairs.wasserstein`."""

    about = "Wasserstein Procrustes: unpaired rows are matched one to one and rotated in turns; pairs weigh as much."
    options_class = WassersteinProcrustesOptions
    least_pairs = 0
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {"block": 10_000}}

    def passes(self, options: WassersteinProcrustesOptions) -> int:
        return options.restarts + options.rounds

    def dim(self, options: WassersteinProcrustesOptions, *, widths: tuple[int, int], pairs: int) -> int:
        return widths[1]

    def cost(self, options: WassersteinProcrustesOptions, *, widths: tuple[int, int], pairs: int) -> float:
        of_centres = 20.0 * options.block * options.centres * sum(widths)
        return options.restarts * of_centres + options.rounds * options.block**2 * (2.0 * sum(widths) + 300.0)

    def solve(self, data: TrainingData, options: WassersteinProcrustesOptions, on_event: Listener = silent) -> Solution:
        from structure.pipeline.aligners.few_pairs.unpaired_sides import UnpairedSides
        from structure.pipeline.aligners.few_pairs.wasserstein import GeometricProcrustes
        from structure.pipeline.aligners.training import pick_device

        sides = UnpairedSides.of(data, options.method, device=pick_device(options.device))
        solver = GeometricProcrustes(
            centres=options.centres, restarts=options.restarts, block=options.block, rounds=options.rounds
        )

        def told(what: str, done: int, total: int) -> None:
            on_event(Progress(what, done, total, "steps"))

        weights = solver.fit(sides, seed=options.seed, on_step=told)
        return Solution(sides.heads_into_text(weights), sides.facts)
