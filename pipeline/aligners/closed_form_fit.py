"""The fit of a closed form: pairs are held out as a trained method does, and its record has the same metrics."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch.nn.functional as F

from structure.pipeline.aligners.aligner import Aligner
from structure.pipeline.aligners.aligner_method import method
from structure.pipeline.aligners.arrays import as_tensor, check_pairs, whole
from structure.pipeline.aligners.fit_result import FitResult
from structure.pipeline.aligners.held_out import LEAST_PAIRS, held_out
from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.aligners.recall import unit_recall
from structure.pipeline.aligners.training import pick_device
from structure.pipeline.aligners.training_data import Solution, TrainingData
from structure.pipeline.aligners.unpaired import NO_EXTRAS
from structure.pipeline.aligners.versions import versions
from structure.pipeline.progress import Listener, Note, silent

Solve = Callable[[TrainingData, Any, Listener], Solution]


def fit_closed(solve: Solve, data: TrainingData, options: TrainingOptions, *, on_event: Listener = silent) -> FitResult:
    """Fit by `solve`. With `options.refit` once more to all pairs; the metrics stay those of the fit that did not see
    the held-out ones. Raises StructureError as `Method.fit`."""
    started = time.perf_counter()
    vision, text, unpaired = data.vision, data.text, data.unpaired or NO_EXTRAS
    aligning = method(options.method)
    divides = data.validation is None and aligning.use_of_unpaired(options) != "required"
    check_pairs(vision, text, least=LEAST_PAIRS if divides else aligning.least_pairs, why=options.method)
    unpaired.check(data.widths)
    if unpaired and aligning.use_of_unpaired(options) == "unused":
        on_event(Note(f"{options.method} trains without R_S here: unpaired rows are not used"))
    pairs, validation = TrainingData(vision, text, unpaired=unpaired), data.validation
    holds_out = validation is None and len(vision) >= LEAST_PAIRS
    if validation is None and 0 < len(vision) < LEAST_PAIRS:
        on_event(Note(f"no pair of {len(vision)} is held out: a part of so few would say nothing"))
    if holds_out:
        training, out = held_out(len(vision), share=options.validation, seed=options.seed, groups=data.groups)
        validation = (vision[out], text[out])
        pairs = replace(pairs, vision=vision[training], text=text[training])
    elif validation is not None:
        check_pairs(*validation, least=2, why="validation")
        pairs = replace(pairs, shared=data.shared)
    solution, fitted_pairs = solve(pairs, options, on_event), len(pairs.vision)
    del pairs  # a copy of most rows, which need not stay beside the embeddings
    aligner = _aligner(solution, options)
    metrics = {} if validation is None else _recalls(aligner, *validation)
    held, refit_pairs = 0 if validation is None else len(validation[0]), 0
    if options.refit:
        everything = TrainingData(vision, text, unpaired=unpaired)
        solution, refit_pairs = solve(everything, options, silent), len(vision)
        aligner = _aligner(solution, options)
        on_event(Note(f"fitted once more to all {refit_pairs:,} pairs; the metrics are those of the first fit"))
    seconds = time.perf_counter() - started
    described = aligner.describe(
        pairs=fitted_pairs,
        validation_pairs=held,
        options=options.to_dict(),
        metrics=metrics,
        versions=versions(),
        **({"refit_pairs": refit_pairs} if refit_pairs else {}),
        **solution.facts,
    )
    return FitResult(
        described,
        metrics=metrics,
        pairs=fitted_pairs,
        validation_pairs=held,
        refit_pairs=refit_pairs,
        seconds=seconds,
        pairs_per_second=fitted_pairs / seconds,
    )


def _recalls(aligner: Aligner, vision: Any, text: Any) -> dict[str, float]:
    """Recall@1 of validation pairs both ways."""
    images = as_tensor(aligner.embed_images(whole(vision)))
    texts = as_tensor(aligner.embed_texts(whole(text))).to(images.device)
    for side in (images, texts):  # in place: of thousands of anchors they are the largest of all
        F.normalize(side, dim=1, out=side)
    recalls = unit_recall(images, texts)
    return {"image_retrieval_recall@1": recalls[0], "text_retrieval_recall@1": recalls[1]}


def _aligner(solution: Solution, options: TrainingOptions) -> Aligner:
    for head in solution.heads:
        head.eval().requires_grad_(False)
    return Aligner(*solution.heads, options.method).to(pick_device(options.device))
