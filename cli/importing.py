"""`structure import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from structure.cli.options import DEFAULT_STORE, JsonOption, QuietOption, StoreOption
from structure.cli.terminal import Terminal


def import_features(
    file: Annotated[Path, typer.Argument(help=".npz or .safetensors with one (rows, width) array a layer.")],
    model: Annotated[str, typer.Option(help="Name of the encoder in the store.")],
    modality: Annotated[str, typer.Option(help="vision, audio or text.")],
    dataset: Annotated[str, typer.Option(help="Name of the dataset in the store.")],
    split: Annotated[str, typer.Option(help="Name of the split in the store.")] = "train",
    samples: Annotated[str | None, typer.Option(help="Pairs file with ids, captions and labels.")] = None,
    dtype: Annotated[str, typer.Option(help="auto (fp16 where it is exact), fp16 or fp32.")] = "auto",
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Import precomputed features; an optional array `ids` says which item each row is.

    Example: structure import dino.npz --model dino --modality vision --dataset cells --samples pairs.jsonl
    """
    from structure.cli.choices import choice
    from structure.pipeline.stages.import_features import import_features as run

    terminal = Terminal(as_json=as_json, quiet=quiet)
    with terminal.working() as listener:
        features = run(
            file,
            model=model,
            modality=choice("--modality", modality, ("vision", "audio", "text")),
            dataset=dataset,
            store=store,
            split=split,
            samples=samples,
            dtype=choice("--dtype", dtype, ("auto", "fp16", "fp32")),
            on_event=listener,
        )
    row = {
        "features": features.key,
        "rows": len(features),
        "layers": len(features.layers),
        "fingerprint": features.fingerprint,
        "state": features.state,
    }
    if as_json:
        terminal.document({"store": store, "features": [row]})
    else:
        terminal.table([row], ["features", "rows", "layers", "state"])
