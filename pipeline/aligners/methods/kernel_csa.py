"""`kernel-csa`: canonical similarity analysis in the space of an RBF kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from structure.pipeline.aligners.closed_form import ClosedForm
from structure.pipeline.aligners.option_groups import SpaceOptions
from structure.pipeline.aligners.options import option
from structure.pipeline.aligners.training_data import Solution, TrainingData
from structure.pipeline.progress import Listener, Note, silent


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

    def cost(self, options: KernelCsaOptions, *, widths: tuple[int, int], pairs: int) -> float:
        from structure.pipeline.aligners.kernel_csa_solver import LANDMARKS

        most = min(pairs, LANDMARKS)
        return 60.0 * most**3 + 4.0 * pairs * most * (most + sum(widths))

    def dim(self, options: KernelCsaOptions, *, widths: tuple[int, int], pairs: int) -> int:
        return min(options.dim, pairs)

    def solve(self, data: TrainingData, options: KernelCsaOptions, on_event: Listener = silent) -> Solution:
        import torch

        from structure.pipeline.aligners.csa_solver import fit_csa_moments
        from structure.pipeline.aligners.heads.closed_heads import KernelHead
        from structure.pipeline.aligners.kernel_csa_solver import kernel_pairs

        pairs = len(data.vision)
        spanned = data.once(f"kernel {options.seed}", lambda: kernel_pairs(data.vision, data.text, seed=options.seed))
        if len(spanned.landmarks[0]) < pairs:
            on_event(Note(f"kernel-csa: {len(spanned.landmarks[0]):,} of {pairs:,} training pairs are landmarks"))
        fitted = fit_csa_moments(spanned.moments, dim=options.dim, ridge=options.ridge, clamp=True)
        scale = torch.as_tensor(fitted.correlations)
        dim = len(scale)
        if dim < options.dim:
            on_event(Note(f"the shared space has {dim} dimensions, not {options.dim}: {pairs} pairs span no more"))
        heads = []
        for rows, gamma, basis, mean, projection in zip(
            spanned.landmarks,
            spanned.gammas,
            spanned.bases,
            (fitted.mean_x, fitted.mean_y),
            (fitted.projection_x, fitted.projection_y),
            strict=True,
        ):
            head = KernelHead(rows.shape[1], dim, landmarks=len(rows), gamma=gamma)
            scaled = projection * scale
            head.landmarks.copy_(rows)
            head.coefficients.copy_((basis @ scaled).T)
            head.bias.copy_(-(mean @ scaled))
            heads.append(head)
        return Solution((heads[0], heads[1]), {"ridge": options.ridge, "landmarks": len(spanned.landmarks[0])})
