"""The methods without gradient descent, each a closed form of the training pairs, under `methods.Method`.

They hold out the pairs that a trained method with the same seed would hold out, so that rows of one table saw the same
training pairs; their record carries the same validation metrics. Pairs may be any arrays that can be sliced, such as
rows that are read from shards on demand: CSA, Procrustes, ridge and the control read them once, chunk by chunk.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from structure.pipeline.aligners import linear_maps as closed_form
from structure.pipeline.aligners.aligner import Aligner
from structure.pipeline.aligners.arrays import Array, as_tensor, check_pairs
from structure.pipeline.aligners.batches import LEAST_PAIRS, held_out
from structure.pipeline.aligners.checkpoint import Checkpoint
from structure.pipeline.aligners.csa import Moments, fit_csa_moments, moments
from structure.pipeline.aligners.csa_refinement import refine
from structure.pipeline.aligners.fit_result import FitResult, versions
from structure.pipeline.aligners.heads.closed_heads import IdentityHead, KernelHead, RelativeHead, WeightedHead
from structure.pipeline.aligners.heads.head import Head
from structure.pipeline.aligners.heads.vector_heads import LinearHead
from structure.pipeline.aligners.kernel_csa import bandwidth, choose_landmarks, kernel, whitening
from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.aligners.recall import pair_recall
from structure.pipeline.aligners.training import pick_device
from structure.pipeline.aligners.unpaired import NO_EXTRAS, Unpaired
from structure.pipeline.progress import Listener, Note, silent
from structure.store.errors import StructureError

Pairs = tuple[Array, Array]
_CHUNK = 8192


@dataclass(frozen=True)
class Fitted:
    """Both heads, and what to record of the fit."""

    heads: tuple[Head, Head]
    facts: Mapping[str, Any] = field(default_factory=dict)


Form = Callable[[Pairs, TrainingOptions, Unpaired, Listener], Fitted]


def fit_closed(
    vision: Array,
    text: Array,
    *,
    options: TrainingOptions,
    validation: Pairs | None = None,
    groups: Array | None = None,
    extras: Unpaired = NO_EXTRAS,
    checkpoint: Checkpoint | None = None,
    on_event: Listener = silent,
) -> FitResult:
    """Fit the closed form that `options.method` names; see `training.train` for the arguments.

    `checkpoint` is not used: a closed form starts again. With `options.refit` the form is fitted once more to all
    pairs; the metrics stay those of the fit that did not see the held-out ones.
    """
    started = time.perf_counter()
    form = FORMS[options.method]
    check_pairs(vision, text, least=LEAST_PAIRS, why=options.method)
    extras.check((vision.shape[1], text.shape[1]))
    if extras and not (options.method == "csa" and options.regulariser == "structure"):
        on_event(Note(f"{options.method} has no R_S to show unpaired rows to: they are not used"))
    everything, pairs = (vision, text), (vision, text)
    if validation is None:
        chosen, out = held_out(len(vision), share=options.validation, seed=options.seed, groups=groups)
        validation, pairs = (vision[out], text[out]), (vision[chosen], text[chosen])
    else:
        check_pairs(*validation, least=2, why="validation")
    fitted = form(pairs, options, extras, on_event)
    aligner = _aligner(fitted, options)
    images, texts = (
        as_tensor(side)
        for side in (aligner.embed_images(_whole(validation[0])), aligner.embed_texts(_whole(validation[1])))
    )
    recalls = pair_recall(images, texts.to(images.device))
    metrics = {"recall_images": recalls[0], "recall_texts": recalls[1]}
    refit_pairs = 0
    if options.refit:
        fitted, refit_pairs = form(everything, options, extras, silent), len(everything[0])
        aligner = _aligner(fitted, options)
        on_event(Note(f"fitted once more to all {refit_pairs:,} pairs; the metrics are those of the first fit"))
    seconds = time.perf_counter() - started
    described = aligner.describe(
        pairs=len(pairs[0]),
        validation_pairs=len(validation[0]),
        options=options.record(),
        metrics=metrics,
        versions=versions(),
        **({"refit_pairs": refit_pairs} if refit_pairs else {}),
        **fitted.facts,
    )
    return FitResult(
        described,
        metrics=metrics,
        pairs=len(pairs[0]),
        validation_pairs=len(validation[0]),
        refit_pairs=refit_pairs,
        seconds=seconds,
        pairs_per_second=len(pairs[0]) / seconds,
    )


def _csa(pairs: Pairs, options: TrainingOptions, extras: Unpaired, on_event: Listener) -> Fitted:
    """CCA to `dim`; with `regulariser="structure"` refined under R_S and whitened again (paper, appendix)."""
    dim = _fitting(options.dim, pairs, on_event)
    if len(pairs[0]) < dim:
        raise StructureError(
            f"{len(pairs[0])} training pairs are fewer than the {dim} dimensions of CSA: every direction would fit by "
            f"chance. Pass --dim {len(pairs[0]) // 2} or less, or more pairs."
        )
    gathered = _moments(pairs)
    ridge = usual_ridge(gathered) if options.ridge is None else options.ridge
    if options.ridge is None:
        on_event(Note(f"csa with ridge {ridge:.3g}, both widths over {gathered.rows:,} pairs; --ridge 0 is plain CCA"))
    fitted = fit_csa_moments(gathered, dim=dim, ridge=ridge)
    for note in fitted.cut:
        on_event(Note(note))
    if gathered.rows <= sum(gathered.xy.shape) and not ridge:
        on_event(
            Note(
                f"{gathered.rows} pairs are not more than both widths together ({sum(gathered.xy.shape)}): the leading "
                "canonical correlations are 1 by construction. --ridge 0.1 tempers that."
            )
        )
    projections = (fitted.projection_x, fitted.projection_y)
    rho = torch.as_tensor(fitted.correlations)
    if options.regulariser == "structure":
        projections, rho = refine(
            fitted, gathered, *pairs, options=options, ridge=ridge, extras=extras, on_event=on_event
        )
    facts = {"correlations": [round(float(value), 6) for value in rho], "cut": list(fitted.cut), "ridge": ridge}
    vision, text = zip(projections, (gathered.mean_x, gathered.mean_y), strict=True)
    if options.weighted:
        return Fitted((WeightedHead.of_map(*vision, rho, place=0), WeightedHead.of_map(*text, rho, place=1)), facts)
    return Fitted((LinearHead.of_map(*vision), LinearHead.of_map(*text)), facts)


def _kernel_csa(pairs: Pairs, options: TrainingOptions, extras: Unpaired, on_event: Listener) -> Fitted:
    """Ridge CSA in the space of an RBF kernel; directions are scaled by their correlation, so that the cosine weighs
    them (see `kernel_csa`)."""
    share = 1.0 if options.ridge is None else options.ridge
    chosen = choose_landmarks(len(pairs[0]), seed=options.seed)
    if len(chosen) < len(pairs[0]):
        on_event(Note(f"kernel-csa: {len(chosen):,} of {len(pairs[0]):,} training pairs are landmarks"))
    landmarks = [as_tensor(side[chosen]).detach().float().cpu() for side in pairs]
    gammas = [bandwidth(side) for side in landmarks]
    bases = [whitening(side, gamma) for side, gamma in zip(landmarks, gammas, strict=True)]

    def features(side: int, start: int) -> torch.Tensor:
        rows = as_tensor(pairs[side][start : start + _CHUNK]).detach().double().cpu()
        return kernel(rows, landmarks[side].double(), gammas[side]) @ bases[side]

    gathered = moments((features(0, at), features(1, at)) for at in range(0, len(pairs[0]), _CHUNK))
    fitted = fit_csa_moments(gathered, dim=options.dim, ridge=share, clamp=True)
    scale = torch.as_tensor(fitted.correlations)
    dim = len(scale)
    if dim < options.dim:
        on_event(Note(f"the shared space has {dim} dimensions, not {options.dim}: {len(pairs[0])} pairs span no more"))
    heads = []
    for rows, gamma, basis, mean, projection in zip(
        landmarks,
        gammas,
        bases,
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
    return Fitted((heads[0], heads[1]), {"ridge": share, "landmarks": len(chosen)})


def usual_ridge(gathered: Moments) -> float:
    """Ridge of CSA where none is asked for: both widths over the pairs, at most 1.

    Plain CCA fits the pairs it has by chance: on 896 emoji pairs R@10 of 249 others is .34 without ridge and .47 with
    this one, on 58 photos R@1 of 19 others .21 and .53 (docs/methods-table.md).
    """
    widths: int = sum(gathered.xy.shape)
    return min(1.0, widths / gathered.rows)


def _procrustes(pairs: Pairs, options: TrainingOptions, extras: Unpaired, on_event: Listener) -> Fitted:
    """Centre and rotate both sides onto the directions they share (see `closed_form.procrustes`)."""
    return Fitted(closed_form.procrustes(_moments(pairs), dim=_fitting(options.dim, pairs, on_event)))


def _ridge(pairs: Pairs, options: TrainingOptions, extras: Unpaired, on_event: Listener) -> Fitted:
    """Ridge regression of text features on vision features; the shared space is the text layer's own."""
    share = 0.1 if options.ridge is None else options.ridge
    return Fitted(closed_form.ridge(_moments(pairs), share=share), {"ridge": share})


def _asif(pairs: Pairs, options: TrainingOptions, extras: Unpaired, on_event: Listener) -> Fitted:
    """ASIF (arXiv 2210.01738): each side relative to all training pairs, the nearest kept, raised to an exponent."""
    if options.nearest >= len(pairs[0]):
        on_event(Note(f"asif keeps the nearest {options.nearest} of {len(pairs[0])} pairs: all of them"))
    heads = [_relative_to(_whole(side), keep=options.nearest, exponent=options.exponent) for side in pairs]
    return Fitted((heads[0], heads[1]))


def _relative(pairs: Pairs, options: TrainingOptions, extras: Unpaired, on_event: Listener) -> Fitted:
    """Relative representations (arXiv 2209.15430): cosines with random training pairs as anchors."""
    count = min(options.anchors, len(pairs[0]))
    if count < options.anchors:
        on_event(Note(f"relative has {count} anchors: there are no {options.anchors} training pairs"))
    chosen = np.sort(np.random.default_rng(options.seed).permutation(len(pairs[0]))[:count])
    heads = [_relative_to(_whole(side[chosen]), keep=count, exponent=1) for side in pairs]
    return Fitted((heads[0], heads[1]), {"anchors": count})


def _mean_shift(pairs: Pairs, options: TrainingOptions, extras: Unpaired, on_event: Listener) -> Fitted:
    """The control that does nothing but centre each side; it needs equal widths."""
    _require_equal_widths(pairs, "mean-shift")
    gathered = _moments(pairs)
    return Fitted((closed_form.centred(gathered.mean_x), closed_form.centred(gathered.mean_y)))


def _identity(pairs: Pairs, options: TrainingOptions, extras: Unpaired, on_event: Listener) -> Fitted:
    """Nothing at all: the two towers of a contrastive model (layers pooled,pooled) evaluated as they are."""
    width = _require_equal_widths(pairs, "identity")
    return Fitted((IdentityHead(width, width), IdentityHead(width, width)))


def _require_equal_widths(pairs: Pairs, method: str) -> int:
    width, other = (int(side.shape[1]) for side in pairs)
    if width != other:
        raise StructureError(
            f"{method} maps nothing: it needs equal widths, and these are {width} and {other}. Use it for two towers "
            "of one model, or take another method."
        )
    return width


FORMS: dict[str, Form] = {
    "csa": _csa,
    "kernel-csa": _kernel_csa,
    "procrustes": _procrustes,
    "ridge": _ridge,
    "asif": _asif,
    "relative": _relative,
    "mean-shift": _mean_shift,
    "identity": _identity,
}


def _moments(pairs: Pairs) -> Moments:
    vision, text = pairs
    return moments((vision[at : at + _CHUNK], text[at : at + _CHUNK]) for at in range(0, len(vision), _CHUNK))


def _fitting(dim: int, pairs: Pairs, on_event: Listener) -> int:
    most: int = min(pairs[0].shape[1], pairs[1].shape[1])
    if dim > most:
        on_event(Note(f"the shared space has {most} dimensions, not {dim}: the narrower features have no more"))
    return min(dim, most)


def _whole(rows: Array) -> Array:
    """All rows in memory."""
    return rows if isinstance(rows, torch.Tensor) else rows[:]


def _relative_to(anchors: Array, *, keep: int, exponent: int) -> RelativeHead:
    rows = as_tensor(anchors).detach().float().cpu()
    head = RelativeHead(rows.shape[1], len(rows), keep=min(keep, len(rows)), exponent=exponent)
    head.anchors.copy_(rows)
    return head


def _aligner(fitted: Fitted, options: TrainingOptions) -> Aligner:
    for head in fitted.heads:
        head.eval().requires_grad_(False)
    return Aligner(*fitted.heads, options.method).to(pick_device(options.device))
