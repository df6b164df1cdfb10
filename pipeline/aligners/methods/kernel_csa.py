"""`kernel-csa`: canonical similarity analysis in the space of an RBF kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from structure.pipeline.aligners.closed_form import ClosedForm
from structure.pipeline.aligners.option_groups import SpaceOptions
from structure.pipeline.aligners.options import option
from structure.pipeline.aligners.training_data import Solution, TrainingData
from structure.pipeline.progress import Listener, Note, silent

if TYPE_CHECKING:
    from structure.pipeline.aligners.kernel_csa_solver import KernelMap


@dataclass(frozen=True, kw_only=True)
class KernelCsaOptions(SpaceOptions):
    """Of CSA in the kernel's space."""

    ridge: float = option(1.0, "Share of the mean variance added to each side.", least=0)


class KernelCsa(ClosedForm[KernelCsaOptions]):
    """Ridge CSA of Nyström features; directions are scaled by their correlation, so that the cosine weighs them (see
    `kernel_csa`)."""

    about = "Canonical similarity analysis in the space of an RBF kernel, for few pairs that linear maps underfit."
    options_class = KernelCsaOptions

    def grid(self, *, widths: tuple[int, int], pairs: int) -> Sequence[Mapping[str, Any]]:
        return tuple({"ridge": ridge} for ridge in (0.3, 1.0, 3.0))

    def streams(self, options: KernelCsaOptions) -> bool:
        return True

    def cost(self, options: KernelCsaOptions, *, widths: tuple[int, int], pairs: int) -> float:
        from structure.pipeline.aligners.kernel_csa_solver import LANDMARKS

        most = min(pairs, LANDMARKS)
        return 60.0 * most**3 + 4.0 * pairs * most * (most + sum(widths))

    def operations(self, options: KernelCsaOptions, *, widths: tuple[int, int], pairs: int) -> float:
        from structure.pipeline.aligners import kernel_csa_many_pairs as many
        from structure.pipeline.aligners.kernel_csa_solver import LANDMARKS

        most = min(pairs, LANDMARKS)
        # Measured with 3,000, 10,000 and 100,000 pairs: decompositions of 2,048 columns take less than small ones.
        if pairs > many.MANY_PAIRS and options.ridge >= many.LEAST_RIDGE:
            return 40.0 * most**3 + 1.5 * pairs * most * (most + sum(widths))
        return 84.0 * most**3 + pairs * most * (4.5 * most + 0.9 * sum(widths))

    def workspace(self, options: KernelCsaOptions, *, widths: tuple[int, int], pairs: int) -> int:
        from structure.pipeline.aligners import kernel_csa_many_pairs as many
        from structure.pipeline.aligners.kernel_csa_solver import CHUNK, LANDMARKS

        most = min(pairs, LANDMARKS)
        is_many = pairs > many.MANY_PAIRS and options.ridge >= many.LEAST_RIDGE
        return 8 * most * (15 * most + (0 if is_many else 8 * min(pairs, CHUNK)))

    def dim(self, options: KernelCsaOptions, *, widths: tuple[int, int], pairs: int) -> int:
        return min(options.dim, pairs)

    def solve(self, data: TrainingData, options: KernelCsaOptions, on_event: Listener = silent) -> Solution:
        from structure.pipeline.aligners.heads.closed_heads import KernelHead
        from structure.pipeline.aligners.kernel_csa_solver import kernel_pairs, solve_pairs

        pairs = len(data.vision)
        maps = _of_many_pairs(data, options, on_event)
        if maps is None:
            spanned = data.once(
                f"kernel {options.seed}", lambda: kernel_pairs(data.vision, data.text, seed=options.seed)
            )
            maps = solve_pairs(spanned, dim=options.dim, ridge=options.ridge)
        landmarks = len(maps[0].landmarks)
        if landmarks < pairs:
            on_event(Note(f"kernel-csa: {landmarks:,} of {pairs:,} training pairs are landmarks"))
        dim = len(maps[0].bias)
        if dim < options.dim:
            on_event(Note(f"the shared space has {dim} dimensions, not {options.dim}: {pairs} pairs span no more"))
        vision, text = (KernelHead.of_map(one) for one in maps)
        return Solution((vision, text), {"ridge": options.ridge, "landmarks": landmarks})


def _of_many_pairs(
    data: TrainingData, options: KernelCsaOptions, on_event: Listener
) -> tuple[KernelMap, KernelMap] | None:
    """The maps by the road of many pairs; None where there are few, or float32 does not resolve their kernel."""
    from torch.linalg import LinAlgError

    from structure.pipeline.aligners import kernel_csa_many_pairs as many

    if len(data.vision) <= many.MANY_PAIRS or options.ridge < many.LEAST_RIDGE:
        return None
    gathered = data.once(
        f"kernel rows {options.seed}", lambda: many.kernel_moments(data.vision, data.text, seed=options.seed)
    )
    try:
        return many.solve_many_pairs(gathered, dim=options.dim, ridge=options.ridge)
    except LinAlgError:
        on_event(Note("kernel-csa: the features span too few directions for float32; it is solved again in float64"))
        return None
