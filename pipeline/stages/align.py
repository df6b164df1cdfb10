"""Stage 3: light heads trained with STRUCTURE straight from the cached shards."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from structure.pipeline.aligners.methods import fit, method
from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.aligners.training import Trained
from structure.pipeline.device import resolve_device
from structure.pipeline.features.cached import EncoderRecord
from structure.pipeline.features.pairs import Pairs, choose_sets, gather, pair_rows
from structure.pipeline.progress import Listener, Note, silent
from structure.pipeline.results import write_table
from structure.pipeline.similarity.ranking import best_layers
from structure.store import FeatureSet, Store, open_store
from structure.store.errors import StructureError, unknown


@dataclass(frozen=True)
class Aligned:
    """A trained aligner, where it was kept, and how it came about."""

    name: str
    folder: Path
    trained: Trained
    layers: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """The document of `structure align --json`."""
        trained = self.trained
        return {
            "aligner": self.name,
            "method": trained.aligner.method,
            "layers": self.layers,
            "pairs": trained.pairs,
            "validation_pairs": trained.validation_pairs,
            "epochs": trained.epochs,
            "best_epoch": trained.best_epoch,
            "learning_rate": trained.rate,
            "metrics": trained.metrics,
            "seconds": trained.seconds,
            "pairs_per_second": trained.pairs_per_second,
        }


def align(
    layers: str = "auto",
    *,
    store: Store | str | Path,
    dataset: str | None = None,
    split: str | None = None,
    vision: str | None = None,
    text: str | None = None,
    options: TrainingOptions | None = None,
    pairs: int | None = None,
    memory: int | None = None,
    name: str | None = None,
    on_event: Listener = silent,
) -> Aligned:
    """Train an aligner on the pairs of a dataset split and keep it below `aligners/<name>/`.

    `layers`: "auto" (the newest ranking of these two feature sets), "last" (the last block of each side), or
    "<vision layer>,<text layer>". `options` say how to train; `pairs` takes a seeded subset; `memory` bounds the bytes
    that both layers may take. The aligner records the fingerprints of the features it fits.
    """
    target = store if isinstance(store, Store) else open_store(store)
    options = options or TrainingOptions()
    method(options.method)  # a name that is wrong is told before anything is read
    ours, theirs = choose_sets(target, dataset=dataset, split=split, vision=vision, text=text)
    for features in (ours, theirs):
        if not features.is_sealed:
            raise StructureError(f"{features.key} is not complete ({features.state}). Run its extract command again.")
    vision_layer, text_layer, chosen_by = choose_layers(target, ours, theirs, layers)
    rows = pair_rows(target, ours, theirs)
    if rows.skipped:
        on_event(Note(f"{rows.skipped} items are left out: one side could not be read."))
    if pairs is not None:
        if pairs > len(rows):
            raise StructureError(f"--pairs {pairs:,} was asked for and {ours.key} has {len(rows):,} pairs.")
        rows = rows.subset(pairs, seed=options.seed)
    on_event(Note(f"layers {vision_layer} and {text_layer} ({chosen_by}), {len(rows):,} pairs"))
    _require_memory(ours, theirs, vision_layer, text_layer, rows, memory)
    device = resolve_device(options.device)
    both = gather(ours, vision_layer, rows.vision), gather(theirs, text_layer, rows.text)
    trained = fit(*both, options=options, on_event=on_event)
    chosen = {"vision": vision_layer, "text": text_layer}
    aligner = trained.aligner.describe(
        layers=chosen,
        layers_chosen_by=chosen_by,
        data={"dataset": ours.manifest.dataset, "split": ours.manifest.split},
        encoders={"vision": EncoderRecord.of(ours).to_json(), "text": EncoderRecord.of(theirs).to_json()},
        fingerprints={"vision": ours.fingerprint, "text": theirs.fingerprint},
        device=device,
    )
    called = name or default_name(ours, theirs, layers, options, pairs)
    folder = target.folder("aligners", called)
    if folder.exists():
        on_event(Note(f"the aligner {called} was there and is replaced"))
        shutil.rmtree(folder)
    if trained.history:
        write_table(folder / "history.parquet", pa.Table.from_pylist(trained.history))
    if trained.curve is not None:
        write_table(
            folder / "learning_rate.parquet", pa.table({"rate": trained.curve.rates, "loss": trained.curve.losses})
        )
    aligner.save(folder)
    return Aligned(called, folder, trained, chosen)


def choose_layers(store: Store, vision: FeatureSet, text: FeatureSet, layers: str) -> tuple[str, str, str]:
    """(vision layer, text layer, how they were chosen)."""
    if layers == "auto":
        first, second, ranking = best_layers(store, vision, text)
        return first, second, f"ranking {ranking}"
    if layers == "last":
        return last_block(vision), last_block(text), "the last of each"
    first, comma, second = layers.partition(",")
    if not comma:
        raise StructureError(f"--layers {layers!r}: write auto, last, or <vision layer>,<text layer>.")
    for features, layer in ((vision, first.strip()), (text, second.strip())):
        if layer not in features.layers:
            raise unknown("layer", layer, features.layers, hint=f"It was looked for in {features.key}.")
    return first.strip(), second.strip(), "given"


def last_block(features: FeatureSet) -> str:
    """The output of the last block (the residual stream before any final norm), else the last stored layer."""
    blocks = [name for name in features.layers if name.startswith("block.")]
    return (blocks or list(features.layers))[-1]


def default_name(vision: FeatureSet, text: FeatureSet, layers: str, options: TrainingOptions, pairs: int | None) -> str:
    """A name that tells apart what is usually compared: data, encoders, layers, method, regulariser, pairs, seed."""
    parts = [
        vision.manifest.dataset,
        vision.manifest.encoder,
        text.manifest.encoder,
        layers.replace(",", "+"),
        options.method,
        *(["plain"] if options.regulariser == "none" else []),
        *([f"{pairs}pairs"] if pairs else []),
        f"seed{options.seed}",
    ]
    return "-".join(parts)


def _require_memory(
    vision: FeatureSet, text: FeatureSet, vision_layer: str, text_layer: str, rows: Pairs, memory: int | None
) -> None:
    needed = len(rows) * (vision.manifest.column(vision_layer).row_bytes + text.manifest.column(text_layer).row_bytes)
    if memory is not None and needed > memory:
        raise StructureError(
            f"The layers {vision_layer} and {text_layer} of {len(rows):,} pairs take {needed:,} bytes; --memory allows "
            f"{memory:,}. Raise --memory, or take fewer --pairs."
        )
