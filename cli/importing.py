"""`structure import`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from structure.cli.choices import choice
from structure.cli.flags import StoreFlags, takes_flags


@dataclass(frozen=True, kw_only=True)
class ImportFlags(StoreFlags):
    """What a file of precomputed features holds."""

    file: Annotated[
        Path, typer.Argument(help=".npz, .safetensors, .npy, .pt or .parquet: one (rows, width) array a layer.")
    ]
    model: Annotated[str, typer.Option(help="Name of the encoder in the store.")]
    modality: Annotated[str, typer.Option(help="vision, audio, text, or any name: a modality of its own.")]
    dataset: Annotated[str, typer.Option(help="Name of the dataset in the store.")]
    split: Annotated[str, typer.Option(help="Name of the split in the store.")] = "train"
    samples: Annotated[str | None, typer.Option(help="Pairs file with ids, captions and labels.")] = None
    dtype: Annotated[str, typer.Option(help="auto (fp16 where it is exact), fp16 or fp32.")] = "auto"


@takes_flags
def import_features(flags: ImportFlags) -> None:
    """Import precomputed features; an optional array `ids` says which sample each row is.

    Example: structure import dino.npz --model dino --modality vision --dataset cells --samples pairs.jsonl
    """
    from structure.pipeline.stages.import_features import import_features as run

    terminal = flags.terminal()
    with terminal.working() as listener:
        features = run(
            flags.file,
            model=flags.model,
            modality=flags.modality,
            dataset=flags.dataset,
            store=flags.store,
            split=flags.split,
            samples=flags.samples,
            dtype=choice("--dtype", flags.dtype, ("auto", "fp16", "fp32")),
            on_event=listener,
        )
    row = {
        "features": features.key,
        "rows": len(features),
        "layers": len(features.layers),
        "fingerprint": features.fingerprint,
        "state": features.state,
    }
    if flags.as_json:
        terminal.document({"store": flags.store, "features": [row]})
    else:
        terminal.table([row], ["features", "rows", "layers", "state"])
