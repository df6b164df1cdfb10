"""Stage 1: every layer of frozen encoders over a dataset split, into the store, once."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from structure.pipeline.datasets.image_files import ImageFiles
from structure.pipeline.datasets.loading import open_dataset
from structure.pipeline.encoders.encoder import Encoder
from structure.pipeline.encoders.frames_option import with_frames
from structure.pipeline.encoders.loading import describe, load_encoder
from structure.pipeline.encoders.model_names import parse_spec
from structure.pipeline.extraction.estimate import ExtractionEstimate, ask, estimate
from structure.pipeline.extraction.fill import fill
from structure.pipeline.extraction.options import ExtractionOptions
from structure.pipeline.extraction.plan_feature_set import Plan, choose_layers
from structure.pipeline.extraction.plan_feature_set import plan as plan_features
from structure.pipeline.extraction.sample_index import SampleIndex, open_rows
from structure.pipeline.extraction.shard_tasks import EncoderJob, fill_by_tasks
from structure.pipeline.extraction.token_plan import choose_token_layers
from structure.pipeline.installed_package import install_command, is_installed
from structure.pipeline.keyword_form import keyword_form
from structure.pipeline.run_context import RunContext
from structure.pipeline.stage_requests.extract import ExtractRequest
from structure.store import FeatureSet
from structure.store.errors import NotPresentError, UsageError


@dataclass(frozen=True)
class Extracted:
    """What one model's extraction did, or would do under `dry_run` (then `features` is None).

    `estimate` is what the rest would take, from a short timed probe.
    """

    plan: Plan
    features: FeatureSet | None
    estimate: ExtractionEstimate | None = None

    def row(self) -> dict[str, Any]:
        """Flat JSON values."""
        manifest = self.plan.manifest
        return {
            "features": manifest.key,
            "modality": manifest.modality,
            "rows": manifest.rows,
            "layers": len(manifest.columns),
            "tokens": [column.name for column in manifest.tokens],
            "batch": self.plan.batch,
            "bytes": manifest.size,
            "pending_rows": self.plan.pending_rows,
            "pending_bytes": self.plan.pending_bytes,
            "free_bytes": self.plan.free,
            "estimated_seconds": self.estimate.seconds if self.estimate else None,
            "memory": self.estimate.memory if self.estimate else None,
            "fingerprint": manifest.fingerprint,
            "state": self.features.state if self.features else "planned",
            "skipped": len(self.features.skipped) if self.features else 0,
        }


def plan(request: ExtractRequest, context: RunContext) -> list[Extracted]:
    """What each encoder would do, and how long, from a short timed probe; writes nothing. Raises as `run` does."""
    options = _options(request)
    return [
        Extracted(chosen, None, estimate(encoder, rows, chosen, options, device=context.resolved_device))
        for encoder, rows, chosen in _planned(request, context, save=False)
    ]


def run(request: ExtractRequest, context: RunContext) -> list[Extracted]:
    """Extract with one encoder after the other. What is done already is not done again.

    Raises NotPresentError for data or weights that are not here, FingerprintError for a feature set that was written
    with other options, and StructureError for a layer that an encoder lacks.
    """
    if request.map_fn is not None:
        return _by_tasks(request, context)
    options, device = _options(request), context.resolved_device
    done: list[Extracted] = []
    for encoder, rows, chosen in _planned(request, context, save=True):
        ask(context.confirm, encoder, rows, chosen, options, device)
        done.append(Extracted(chosen, fill(context, encoder, rows, chosen, options)))
    return done


def _planned(
    request: ExtractRequest, context: RunContext, *, save: bool
) -> Iterator[tuple[Encoder, SampleIndex, Plan]]:
    """Each encoder with the rows and its plan. One at a time: two large encoders need not fit the device together."""
    options, device, rows = _options(request), context.resolved_device, None
    request = _over_frames(request, context)  # before weights are read
    modalities: set[str] = set()
    for name in request.models:
        encoder = load_encoder(
            name,
            device=device,
            amp=request.amp,
            revision=request.revision,
            trust_remote_code=context.trust_remote_code,
        )
        modalities.add(encoder.modality)
        if name == request.models[-1]:
            _require_side(options, modalities)
        for note in encoder.notes:
            context.note(f"{encoder.name}: {note}")
        choose_layers(encoder, options.layers)  # before images are read
        choose_token_layers(encoder, options.tokens)
        if rows is None:
            rows = open_rows(
                context,
                request.dataset,
                split=request.split,
                limit=request.limit,
                append=request.append,
                skip_bad=options.skip_bad,
                save=save,
            )
        chosen = plan_features(context.store, encoder, rows, options, spec=name, device=device)
        chosen.require_space(context.store)
        yield encoder, rows, chosen


def _over_frames(request: ExtractRequest, context: RunContext) -> ExtractRequest:
    """The request with `--frames` in the names of its vision models.

    Opens the dataset: raises UsageError where it has no video, NotPresentError where what reads videos is not
    installed. Tells where of each video one frame is read.
    """
    dataset = open_dataset(request.dataset, split=request.split, data_root=context.data_root)
    models = list(request.models)
    for model in models:
        own = parse_spec(model).frames
        if own > 1 and request.frames not in (1, own):
            raise UsageError(f"--frames {request.frames} and {model} say two things. Leave one of them out.")
        if own > 1 and request.views > 1:
            raise UsageError(f"{model} --views {request.views}: views are of images. Leave one of the two out.")
    if request.frames > 1:
        if isinstance(dataset, ImageFiles) and not dataset.videos:
            raise UsageError(
                f"--frames {request.frames} reads videos, and {request.dataset} has none among its "
                f"{len(dataset):,} files. Leave it out."
            )
        models = [
            with_frames(model, request.frames)
            if parse_spec(model).frames == 1 and _is_vision(model, request, context)
            else model
            for model in models
        ]
    if dataset.videos and not is_installed("av"):
        raise NotPresentError(
            f"{request.dataset} has {dataset.videos:,} videos, and what reads them is not installed. Type: "
            f"{install_command('av')}"
        )
    if dataset.videos and all(parse_spec(model).frames == 1 for model in models):
        context.note(
            f"{request.dataset}: {dataset.videos:,} of {len(dataset):,} files are videos; the middle frame of each is "
            "read. --frames 8 reads 8 of each"
        )
    return replace(request, models=models)


def _is_vision(model: str, request: ExtractRequest, context: RunContext) -> bool:
    trust = context.trust_remote_code
    return describe(model, revision=request.revision, trust_remote_code=trust).modality == "vision"


def _require_side(options: ExtractionOptions, modalities: set[str]) -> None:
    """Raises UsageError for --captions or --views where none of the encoders reads what they count."""
    if options.captions != 1 and "text" not in modalities:
        raise UsageError(
            f"--captions {options.captions or 'all'} counts captions, and no --model here is a text encoder: it would "
            "change nothing. Leave it out, or name a text encoder too."
        )
    if options.views != 1 and not modalities - {"text"}:
        raise UsageError(
            f"--views {options.views} counts views of an image, and no --model here is a vision encoder: it would "
            "change nothing. Leave it out, or name a vision encoder too."
        )


def _by_tasks(request: ExtractRequest, context: RunContext) -> list[Extracted]:
    """The same by tasks that run anywhere: one that plans, then one for each shard."""
    assert request.map_fn is not None
    request = _over_frames(request, context)
    assert request.map_fn is not None
    task = EncoderJob(
        run=secrets.token_hex(8),
        folder=os.getcwd(),
        store=context.store.url,
        model="",
        dataset=request.dataset,
        split=request.split,
        data_root=str(context.data_root),
        limit=request.limit,
        options=_options(request),
        device=context.device,
        amp=request.amp,
        revision=request.revision,
        trust_remote_code=context.trust_remote_code,
    )
    each = (
        fill_by_tasks(replace(task, model=name), request.map_fn, on_event=context.on_event) for name in request.models
    )
    return [Extracted(chosen, features) for chosen, features in each]


def _options(request: ExtractRequest) -> ExtractionOptions:
    captions, batch = request.captions, request.batch_size
    return ExtractionOptions(
        layers=tuple(request.layers),
        tokens=tuple(request.tokens),
        pooling=tuple(request.pool),
        dtype=request.dtype,
        views=request.views,
        captions={"first": 1, "all": None}[captions] if isinstance(captions, str) else captions,
        batch=None if batch == "auto" else batch,
        workers=request.workers,
        skip_bad=request.on_bad_sample == "skip",
        append=request.append,
        name=request.name or "",
    )


extract = keyword_form(
    "extract", ExtractRequest, run, plan, about="Extract every layer of frozen encoders over a dataset split, once."
)
