"""Stage 1: every layer of frozen encoders over a dataset split, into the store, once."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from structure.pipeline.datasets.loading import open_dataset
from structure.pipeline.device import resolve_device
from structure.pipeline.encoders.loading import load_encoder
from structure.pipeline.encoders.pooling import Pooling
from structure.pipeline.encoders.precision import Amp
from structure.pipeline.extraction.estimate import Consent, ExtractionEstimate, ask, estimate
from structure.pipeline.extraction.fill import fill
from structure.pipeline.extraction.plan import Dtype, Extraction, Plan, plan
from structure.pipeline.extraction.sample_index import open_rows
from structure.pipeline.extraction.shard_tasks import Request, Spread, fill_by_tasks
from structure.pipeline.progress import Listener, silent
from structure.store import FeatureSet, Store, open_store


@dataclass(frozen=True)
class Extracted:
    """What one model's extraction did, or would do under `dry_run` (then `features` is None).

    `ahead` is what the rest would take, from a short timed probe.
    """

    plan: Plan
    features: FeatureSet | None
    ahead: ExtractionEstimate | None = None

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
            "estimated_seconds": self.ahead.seconds if self.ahead else None,
            "memory": self.ahead.memory if self.ahead else None,
            "fingerprint": manifest.fingerprint,
            "state": self.features.state if self.features else "planned",
            "skipped": len(self.features.skipped) if self.features else 0,
        }


def extract(
    models: Sequence[str] | str,
    dataset: str,
    *,
    store: Store | str | Path,
    split: str | None = None,
    data_root: str | Path = "data",
    layers: Sequence[str] = ("*",),
    tokens: Sequence[str] = (),
    pool: Sequence[Pooling] = (),
    limit: int | None = None,
    batch_size: int | Literal["auto"] = "auto",
    device: str = "auto",
    dtype: Dtype = "auto",
    amp: Amp = "auto",
    workers: int | None = None,
    captions: int | Literal["first", "all"] = "first",
    views: int = 1,
    on_bad_sample: Literal["skip", "fail"] = "skip",
    revision: str | None = None,
    trust_remote_code: bool = False,
    append: bool = False,
    dry_run: bool = False,
    spread: Spread | None = None,
    consent: Consent | None = None,
    on_event: Listener = silent,
) -> list[Extracted]:
    """Extract features of one or several encoders; one feature set each, `<dataset>/<split>/<encoder>` in the store.

    Options are those of `structure extract`. What is done already is not done again; a feature set written with other
    options is refused. With `dry_run` nothing but the row table is written, and a short probe gives the time.
    `spread` runs the tasks of a real run (one for each shard) elsewhere, to the same bytes.
    `consent` is asked before each encoder runs, with what is ahead of it, and raises to stop.
    """
    target = store if isinstance(store, Store) else open_store(store)
    names = [models] if isinstance(models, str) else list(models)
    options = Extraction(
        layers=tuple(layers),
        tokens=tuple(tokens),
        pooling=tuple(pool),
        dtype=dtype,
        views=views,
        captions={"first": 1, "all": None}[captions] if isinstance(captions, str) else captions,
        batch=None if batch_size == "auto" else batch_size,
        workers=workers,
        skip_bad=on_bad_sample == "skip",
        append=append,
    )
    if spread is not None and not dry_run:
        request = Request(
            run=secrets.token_hex(8),
            folder=os.getcwd(),
            store=target.url,
            model="",
            dataset=dataset,
            split=split,
            data_root=str(data_root),
            limit=limit,
            options=options,
            device=device,
            amp=amp,
            revision=revision,
            trust_remote_code=trust_remote_code,
        )
        each = (fill_by_tasks(replace(request, model=name), spread, on_event=on_event) for name in names)
        return [Extracted(chosen, features) for chosen, features in each]
    place = resolve_device(device)
    open_dataset(dataset, split=split, data_root=data_root)  # a name that is wrong is told before weights are read
    rows = None
    done: list[Extracted] = []
    for name in names:
        # One encoder at a time: two large ones need not fit the device together.
        encoder = load_encoder(name, device=place, amp=amp, revision=revision, trust_remote_code=trust_remote_code)
        if rows is None:
            rows = open_rows(
                target,
                dataset,
                split=split,
                data_root=data_root,
                limit=limit,
                append=append,
                skip_bad=options.skip_bad,
                on_event=on_event,
            )
        chosen = plan(target, encoder, rows, options, spec=name, device=place)
        chosen.require_space(target)
        if dry_run:
            done.append(Extracted(chosen, None, estimate(encoder, rows, chosen, options, device=place)))
            continue
        ask(consent, encoder, rows, chosen, options, place)
        features = fill(target, encoder, rows, chosen, options, device=place, on_event=on_event)
        done.append(Extracted(chosen, features))
    return done
