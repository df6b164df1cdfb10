"""`csa`: canonical similarity analysis, refined under R_S."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from structure.pipeline.aligners.closed_form import ClosedForm, common_dim
from structure.pipeline.aligners.option_groups import R_S, MixOptions, SpaceOptions, StructureOptions
from structure.pipeline.aligners.options import Idle, option
from structure.pipeline.aligners.training_data import Solution, TrainingData
from structure.pipeline.progress import Listener, Note, silent
from structure.store.errors import StructureError

if TYPE_CHECKING:
    from structure.pipeline.aligners.csa_solver import Moments

REFINING_EPOCHS = 10
"""Of the refinement under R_S, as published."""


@dataclass(frozen=True, kw_only=True)
class CsaOptions(SpaceOptions, StructureOptions, MixOptions):
    """Of the closed form and of its refinement; the latter's temperature, rate and epochs are the published ones."""

    ridge: float | None = option(
        None,
        "Share of the mean variance added to each side; none: both widths over the pairs; 0: plain CCA.",
        least=0,
    )
    weighted: bool = option(False, "Score by the correlation-weighted similarity instead of the cosine.")
    structure_pairs: int | None = option(
        8192, "Training pairs that R_S refines the closed form on, at most, drawn by the seed; none: all.", above=1
    )

    @property
    def idle(self) -> Idle:
        of_refinement = ("batch", "mix", "structure_pairs")
        return super().idle if self.uses_structure else super().idle | dict.fromkeys(of_refinement, R_S)


class Csa(ClosedForm[CsaOptions]):
    """CCA to `dim` (arXiv 2410.07610); with R_S refined and whitened again (arXiv 2506.16895, appendix)."""

    about = "Canonical similarity analysis (CCA with whitening), refined under R_S unless the regulariser is none."
    options_class = CsaOptions
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        name: {"ridge": 0.0, "structure_pairs": None} for name in ("paper", "released")
    }
    """Published as plain CCA, refined on all pairs."""

    def grid(self, *, widths: tuple[int, int], pairs: int) -> Sequence[Mapping[str, Any]]:
        plain = {"regulariser": "none", "dim": min(512, pairs // 2)}
        return (plain, {**plain, "weighted": True})

    def streams(self, options: CsaOptions) -> bool:
        return not options.uses_structure or options.structure_pairs is not None

    def passes(self, options: CsaOptions) -> int:
        return 1 + (REFINING_EPOCHS if options.uses_structure else 0)

    def operations(self, options: CsaOptions, *, widths: tuple[int, int], pairs: int) -> float:
        from structure.pipeline.aligners.closed_form_cost import EIGEN, READ, SINGULAR

        first, second = widths
        products = 2.0 * (first**2 + second**2 + first * second)
        cubes = EIGEN * (first**3 + second**3) + SINGULAR * min(widths) ** 3
        return pairs * (READ * sum(widths) + products) + cubes

    def epoch_pairs(self, options: CsaOptions, *, pairs: int) -> int:
        return pairs if options.structure_pairs is None else min(pairs, options.structure_pairs)

    def dim(self, options: CsaOptions, *, widths: tuple[int, int], pairs: int) -> int:
        return min(options.dim, *widths) + (2 if options.weighted else 0)

    def solve(self, data: TrainingData, options: CsaOptions, on_event: Listener = silent) -> Solution:
        import torch

        from structure.pipeline.aligners.csa_refinement import refine
        from structure.pipeline.aligners.csa_solver import fit_csa_moments, moments_of
        from structure.pipeline.aligners.heads.closed_heads import WeightedHead
        from structure.pipeline.aligners.heads.vector_heads import LinearHead

        pairs, dim = len(data.vision), common_dim(options.dim, data, on_event)
        if pairs < dim:
            raise StructureError(
                f"{pairs} training pairs are fewer than the {dim} dimensions of CSA: every direction would fit by "
                f"chance. Pass --dim {pairs // 2} or less, or more pairs."
            )
        gathered = moments_of(data)
        ridge = usual_ridge(gathered) if options.ridge is None else options.ridge
        if options.ridge is None:
            on_event(Note(f"csa with ridge {ridge:.3g}, both widths over {pairs:,} pairs; --ridge 0 is plain CCA"))
        fitted = data.once(f"csa {dim} {ridge}", lambda: fit_csa_moments(gathered, dim=dim, ridge=ridge))
        for note in fitted.cut:
            on_event(Note(note))
        if pairs <= sum(data.widths) and not ridge:
            on_event(
                Note(
                    f"{pairs} pairs are not more than both widths together ({sum(data.widths)}): the leading "
                    "canonical correlations are 1 by construction. --ridge 0.1 tempers that."
                )
            )
        projections = (fitted.projection_x, fitted.projection_y)
        rho = torch.as_tensor(fitted.correlations)
        facts: dict[str, Any] = {}
        if options.uses_structure:
            refining = _refining_pairs(data, options)
            if len(refining.vision) < pairs:
                facts["structure_pairs"] = len(refining.vision)
                on_event(
                    Note(
                        f"R_S refines csa on {len(refining.vision):,} of {pairs:,} pairs; closed form and last "
                        "whitening are of all. --set structure_pairs=none: on all"
                    )
                )
            projections, rho = refine(
                fitted, gathered, refining, options=options, ridge=ridge, epochs=REFINING_EPOCHS, on_event=on_event
            )
        facts |= {"correlations": [round(float(value), 6) for value in rho], "cut": list(fitted.cut), "ridge": ridge}
        vision, text = zip(projections, (gathered.mean_x, gathered.mean_y), strict=True)
        if options.weighted:
            weighted = (WeightedHead.of_map(*vision, rho, place=0), WeightedHead.of_map(*text, rho, place=1))
            return Solution(weighted, facts)
        return Solution((LinearHead.of_map(*vision), LinearHead.of_map(*text)), facts)


def _refining_pairs(data: TrainingData, options: CsaOptions) -> TrainingData:
    """The pairs that R_S sees: some of them, in their order, where there are more than it takes."""
    from structure.pipeline.aligners.arrays import some_rows

    pairs, most = len(data.vision), options.structure_pairs
    if most is None or pairs <= most:
        return data
    vision, text = some_rows((data.vision, data.text), most, seed=options.seed)
    return replace(data, vision=vision, text=text, shared=None)


def usual_ridge(gathered: Moments) -> float:
    """Ridge of CSA where none is asked for: both widths over the pairs, at most 1.

    Plain CCA fits the pairs it has by chance: on 896 emoji pairs R@10 of 249 others is .34 without ridge and .47 with
    this one, on 58 photos R@1 of 19 others .21 and .53 (docs/methods-table.md).
    """
    widths: int = sum(gathered.xy.shape)
    return min(1.0, widths / gathered.rows)
