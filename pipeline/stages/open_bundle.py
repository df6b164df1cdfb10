"""Open a bundle: check that it gives the same answers here, and add its aligner to a store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace as replaced
from pathlib import Path
from typing import Any

from structure.pipeline.aligners.aligner_runs import AlignerName
from structure.pipeline.aligners.model_card import CARD, card
from structure.pipeline.aligners.saved_aligner import make_way
from structure.pipeline.device import resolve_device
from structure.pipeline.exports.bundle_reading import Bundle, open_sides, read_bundle
from structure.pipeline.inference.aligned_model import AlignedModel
from structure.store import Store, open_store
from structure.store.files import plain_name


@dataclass(frozen=True)
class Opened:
    """A bundle that gives the same answers here. `model` embeds with it; `name` is its aligner's in the store, "" where
    none was given. `largest_difference`: by side, of the embeddings of the probes. `notes`: what differs all the same.
    `labels`: paths of the prompts of labels that came along."""

    bundle: Bundle
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

    def add_to(self, store: Store | str | Path, *, name: str | None = None, replace: bool = False) -> Opened:
        """The same with its aligner in a store, under `name` (its own by default). Raises `StructureError` for a name
        that another run's aligner has, unless `replace`, which removes that one with its results."""
        opened, aligner = store if isinstance(store, Store) else open_store(store), self.model.aligner
        run = str(aligner.metadata.get("run", ""))
        taken = AlignerName(name, plain_name(self.bundle.name) or "bundle", replace).of(run, opened)
        target = opened.folder("aligners", taken)
        make_way(opened, taken)
        labels = self.bundle.label_files
        target.write(CARD, card(aligner, taken).encode())
        aligner.save(target, beside=labels)
        return replaced(self, name=taken, labels=tuple(f"{target.url}/{file}" for file in labels))


def open_bundle(
    folder: str | Path,
    *,
    vision: str | None = None,
    text: str | None = None,
    device: str = "cpu",
    trust_remote_code: bool = False,
) -> Opened:
    """Check a bundle and load its model; `add_to` then adds its aligner to a store.

    `vision` and `text` say what its encoders are called on this machine, where that differs. Raises `NotPresentError`
    for an encoder that is not here, `FingerprintError` for one with other weights, `DamageError` for a file that is not
    the one that was written, `StructureError` where answers differ, with the versions that do.
    """
    bundle = read_bundle(folder)
    place = resolve_device(device)
    opened = open_sides(bundle, vision=vision, text=text, device=place, trust_remote_code=trust_remote_code)
    labels = tuple(str(bundle.folder / file) for file in bundle.label_files)
    model = AlignedModel(opened.vision, opened.text)
    return Opened(bundle, model, "", opened.largest_difference, opened.notes, labels)
