"""`procrustes`: both sides are rotated onto the directions that they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from structure.pipeline.aligners.closed_form import ClosedForm, common_dim
from structure.pipeline.aligners.option_groups import SpaceOptions
from structure.pipeline.aligners.training_data import Solution, TrainingData
from structure.pipeline.progress import Listener, silent


class Procrustes(ClosedForm[SpaceOptions]):
    """Orthogonal Procrustes (Schönemann 1966), see `linear_maps.procrustes`."""

    about = "Orthogonal Procrustes: both sides are centred and rotated onto the directions that they share."
    options_class = SpaceOptions

    def grid(self, *, widths: tuple[int, int], pairs: int) -> Sequence[Mapping[str, Any]]:
        return ({"dim": min(512, pairs // 2)},)

    def streams(self, options: SpaceOptions) -> bool:
        return True

    def operations(self, options: SpaceOptions, *, widths: tuple[int, int], pairs: int) -> float:
        from structure.pipeline.aligners.closed_form_cost import READ, SINGULAR

        first, second = widths
        return pairs * (READ * sum(widths) + 2.0 * first * second) + SINGULAR * min(widths) ** 3

    def dim(self, options: SpaceOptions, *, widths: tuple[int, int], pairs: int) -> int:
        return min(options.dim, *widths)

    def solve(self, data: TrainingData, options: SpaceOptions, on_event: Listener = silent) -> Solution:
        from structure.pipeline.aligners.csa_solver import moments_of
        from structure.pipeline.aligners.linear_maps import procrustes

        gathered = moments_of(data, needed=("xy",))
        return Solution(procrustes(gathered, dim=common_dim(options.dim, data, on_event)))
