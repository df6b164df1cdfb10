"""The methods people compare with, each under the one signature of `methods.Method`.

Closed forms hold out the pairs that a trained method with the same seed would hold out, so that rows of one table saw
the same training pairs; their record carries the same validation metrics.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from structure.pipeline.aligners import closed_form
from structure.pipeline.aligners.aligner import Aligner
from structure.pipeline.aligners.arrays import Array, as_tensor, check_pairs
from structure.pipeline.aligners.batches import LEAST_PAIRS, held_out
from structure.pipeline.aligners.csa import Moments, fit_csa_moments, moments
from structure.pipeline.aligners.csa_refinement import refine
from structure.pipeline.aligners.heads import Head, LinearHead, RelativeHead
from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.aligners.pair_retrieval import pair_recall
from structure.pipeline.aligners.training import Trained, pick_device, train, versions
from structure.pipeline.progress import Listener, Note, silent
from structure.store.errors import StructureError

Pairs = tuple[Array, Array]
_CHUNK = 8192


def sail(
    vision: Array,
    text: Array,
    *,
    options: TrainingOptions,
    validation: Pairs | None = None,
    groups: Array | None = None,
    on_event: Listener = silent,
) -> Trained:
    """SAIL's head and loss (arXiv 2412.04616): gated, pairwise sigmoid with learnable scale and bias.

    Its own recipe has no R_S; it is added here unless the options say `regulariser="none"`.
    """
    gated = replace(options, method="gated", loss="sigmoid", learnable_scale=True)
    trained = train(vision, text, options=gated, validation=validation, groups=groups, on_event=on_event)
    return replace(trained, aligner=replace(trained.aligner, method="sail"))


def csa(
    vision: Array,
    text: Array,
    *,
    options: TrainingOptions,
    validation: Pairs | None = None,
    groups: Array | None = None,
    on_event: Listener = silent,
) -> Trained:
    """CCA to `dim`; with `regulariser="structure"` refined under R_S and whitened again (paper, appendix)."""
    started = time.perf_counter()
    pairs, validation = _split(vision, text, validation, groups, options)
    dim = _fitting(options.dim, pairs, on_event)
    if len(pairs[0]) < dim:
        raise StructureError(
            f"{len(pairs[0])} training pairs are fewer than the {dim} dimensions of CSA: every direction would fit by "
            f"chance. Pass --dim {len(pairs[0]) // 2} or less, or more pairs."
        )
    gathered = _moments(pairs)
    fitted = fit_csa_moments(gathered, dim=dim, ridge=options.ridge or 0.0)
    for note in fitted.cut:
        on_event(Note(note))
    if gathered.rows <= sum(gathered.xy.shape):
        on_event(
            Note(
                f"{gathered.rows} pairs are not more than both widths together ({sum(gathered.xy.shape)}): the leading "
                "canonical correlations are 1 by construction. --ridge 0.1 tempers that."
            )
        )
    projections = (fitted.projection_x, fitted.projection_y)
    weights = torch.as_tensor(fitted.correlations)
    if options.regulariser == "structure":
        projections, weights = refine(fitted, gathered, *pairs, options=options, on_event=on_event)
    heads = (LinearHead.of_map(projections[0], gathered.mean_x), LinearHead.of_map(projections[1], gathered.mean_y))
    facts = {"correlations": [round(float(value), 6) for value in fitted.correlations], "cut": list(fitted.cut)}
    return _finish(
        heads, options, pairs, validation, started, facts, weights=weights.float() if options.weighted else None
    )


def procrustes(
    vision: Array,
    text: Array,
    *,
    options: TrainingOptions,
    validation: Pairs | None = None,
    groups: Array | None = None,
    on_event: Listener = silent,
) -> Trained:
    """Centre and rotate both sides onto the directions they share (see `closed_form.procrustes`)."""
    started = time.perf_counter()
    pairs, validation = _split(vision, text, validation, groups, options)
    heads = closed_form.procrustes(_moments(pairs), dim=_fitting(options.dim, pairs, on_event))
    return _finish(heads, options, pairs, validation, started)


def ridge(
    vision: Array,
    text: Array,
    *,
    options: TrainingOptions,
    validation: Pairs | None = None,
    groups: Array | None = None,
    on_event: Listener = silent,
) -> Trained:
    """Ridge regression of text features on vision features; the shared space is the text layer's own."""
    started = time.perf_counter()
    pairs, validation = _split(vision, text, validation, groups, options)
    share = 0.1 if options.ridge is None else options.ridge
    heads = closed_form.ridge(_moments(pairs), share=share)
    return _finish(heads, options, pairs, validation, started, {"ridge": share})


def asif(
    vision: Array,
    text: Array,
    *,
    options: TrainingOptions,
    validation: Pairs | None = None,
    groups: Array | None = None,
    on_event: Listener = silent,
) -> Trained:
    """ASIF (arXiv 2210.01738): each side relative to all training pairs, the nearest kept, raised to an exponent."""
    started = time.perf_counter()
    pairs, validation = _split(vision, text, validation, groups, options)
    if options.nearest >= len(pairs[0]):
        on_event(Note(f"asif keeps the nearest {options.nearest} of {len(pairs[0])} pairs: all of them"))
    heads = [_relative_to(side, keep=options.nearest, exponent=options.exponent) for side in pairs]
    return _finish((heads[0], heads[1]), options, pairs, validation, started)


def relative(
    vision: Array,
    text: Array,
    *,
    options: TrainingOptions,
    validation: Pairs | None = None,
    groups: Array | None = None,
    on_event: Listener = silent,
) -> Trained:
    """Relative representations (arXiv 2209.15430): cosines with random training pairs as anchors."""
    started = time.perf_counter()
    pairs, validation = _split(vision, text, validation, groups, options)
    count = min(options.anchors, len(pairs[0]))
    if count < options.anchors:
        on_event(Note(f"relative has {count} anchors: there are no {options.anchors} training pairs"))
    chosen = np.sort(np.random.default_rng(options.seed).permutation(len(pairs[0]))[:count])
    heads = [_relative_to(as_tensor(side)[chosen], keep=count, exponent=1) for side in pairs]
    return _finish((heads[0], heads[1]), options, pairs, validation, started)


def mean_shift(
    vision: Array,
    text: Array,
    *,
    options: TrainingOptions,
    validation: Pairs | None = None,
    groups: Array | None = None,
    on_event: Listener = silent,
) -> Trained:
    """The control that does nothing but centre each side; it needs equal widths."""
    started = time.perf_counter()
    pairs, validation = _split(vision, text, validation, groups, options)
    if pairs[0].shape[1] != pairs[1].shape[1]:
        raise StructureError(
            f"mean-shift maps nothing: it needs equal widths, and these are {pairs[0].shape[1]} and "
            f"{pairs[1].shape[1]}. Use it for two towers of one model, or take another method."
        )
    gathered = _moments(pairs)
    heads = (closed_form.centred(gathered.mean_x), closed_form.centred(gathered.mean_y))
    return _finish(heads, options, pairs, validation, started)


def _split(
    vision: Array, text: Array, validation: Pairs | None, groups: Array | None, options: TrainingOptions
) -> tuple[Pairs, Pairs]:
    check_pairs(vision, text, least=LEAST_PAIRS, why=options.method)
    if validation is not None:
        check_pairs(*validation, least=2, why="validation")
        return (vision, text), validation
    chosen, out = held_out(len(vision), share=options.validation, seed=options.seed, groups=groups)
    return (vision[chosen], text[chosen]), (vision[out], text[out])


def _moments(pairs: Pairs) -> Moments:
    vision, text = pairs
    return moments((vision[at : at + _CHUNK], text[at : at + _CHUNK]) for at in range(0, len(vision), _CHUNK))


def _fitting(dim: int, pairs: Pairs, on_event: Listener) -> int:
    most: int = min(pairs[0].shape[1], pairs[1].shape[1])
    if dim > most:
        on_event(Note(f"the shared space has {most} dimensions, not {dim}: the narrower features have no more"))
    return min(dim, most)


def _relative_to(anchors: Array, *, keep: int, exponent: int) -> RelativeHead:
    rows = as_tensor(anchors).detach().float().cpu()
    head = RelativeHead(rows.shape[1], len(rows), keep=min(keep, len(rows)), exponent=exponent)
    head.anchors.copy_(rows)
    return head


def _finish(
    heads: tuple[Head, Head],
    options: TrainingOptions,
    pairs: Pairs,
    validation: Pairs,
    started: float,
    facts: dict[str, Any] | None = None,
    weights: torch.Tensor | None = None,
) -> Trained:
    for head in heads:
        head.eval().requires_grad_(False)
    aligner = Aligner(heads[0], heads[1], options.method, weights=weights).to(pick_device(options.device))
    images = as_tensor(aligner.embed_images(validation[0]))
    recalls = pair_recall(images, as_tensor(aligner.embed_texts(validation[1])).to(images.device))
    metrics = {"recall_images": recalls[0], "recall_texts": recalls[1]}
    seconds = time.perf_counter() - started
    described = aligner.describe(
        pairs=len(pairs[0]),
        validation_pairs=len(validation[0]),
        options=options.record(),
        metrics=metrics,
        versions=versions(),
        **(facts or {}),
    )
    return Trained(
        described,
        metrics=metrics,
        pairs=len(pairs[0]),
        validation_pairs=len(validation[0]),
        seconds=seconds,
        pairs_per_second=len(pairs[0]) / seconds,
    )
