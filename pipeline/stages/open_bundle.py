"""Open a bundle: check that it gives the same answers here, and add its aligner to a store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from structure.pipeline.aligners.aligner_runs import RECORD, AlignerName
from structure.pipeline.aligners.model_card import CARD, card
from structure.pipeline.device import resolve_device
from structure.pipeline.exports.bundle_reading import open_sides, read_bundle
from structure.pipeline.inference.aligned_model import AlignedModel
from structure.pipeline.results import remove_results
from structure.pipeline.run_context import RunContext
from structure.store import Store
from structure.store.files import plain_name


@dataclass(frozen=True)
class Opened:
    """A bundle that gives the same answers here. `model` embeds with it; `name` is its aligner's in the store, "" where
    none was given. `largest_difference`: by side, of the embeddings of the probes. `notes`: what differs all the same.
    `labels`: paths of the prompts of labels that came along."""

    model: AlignedModel
    name: str
    largest_difference: Mapping[str, float]
    notes: tuple[str, ...]
    labels: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The document of `structure open --json`."""
        records = self.model.aligner.metadata["encoders"]
        return {
            "aligner": self.name,
            "encoders": {which: record["spec"] for which, record in records.items()},
            "largest_difference": dict(self.largest_difference),
            "notes": list(self.notes),
            "labels": list(self.labels),
        }


def open_bundle(
    folder: str | Path,
    *,
    store: Store | str | Path | None = None,
    name: str | None = None,
    replace: bool = False,
    vision: str | None = None,
    text: str | None = None,
    device: str = "cpu",
    trust_remote_code: bool = False,
) -> Opened:
    """Check a bundle and load its model; with a `store` add its aligner there, under `name` (its own by default).

    `vision` and `text` say what its encoders are called on this machine, where that differs. Raises `NotPresentError`
    for an encoder that is not here, `FingerprintError` for one with other weights, `DamageError` for a file that is not
    the one that was written, `StructureError` where answers differ (with the versions that do), and for a name that
    another run's aligner has unless `replace`.
    """
    bundle = read_bundle(folder)
    place = resolve_device(device)
    opened = open_sides(bundle, vision=vision, text=text, device=place, trust_remote_code=trust_remote_code)
    labels = opened.bundle.label_files
    home, taken, paths = None, "", [str(bundle.folder / file) for file in labels]
    if store is not None:
        context = RunContext.of(store, device=device, trust_remote_code=trust_remote_code)
        run = str(opened.aligner.metadata.get("run", ""))
        taken = AlignerName(name, plain_name(bundle.name) or "bundle", replace).of(run, context.store)
        target = context.store.folder("aligners", taken)
        if target.exists(RECORD):
            target.remove(RECORD)
            remove_results(context.store, taken)
        target.remove_tree("")
        for file, content in labels.items():
            target.write(file, content)
        target.write(CARD, card(opened.aligner, taken).encode())
        opened.aligner.save(target)
        home, paths = (context, taken), [f"{target.url}/{file}" for file in labels]
    model = AlignedModel(opened.vision, opened.text, home=home)
    return Opened(model, taken, opened.largest_difference, opened.notes, tuple(paths))
