"""`structure extract`."""

from __future__ import annotations

from typing import Annotated

import typer

from structure.cli import completion
from structure.cli.consent import DryRunOption, YesOption, asking
from structure.cli.options import (
    DEFAULT_DATA,
    DEFAULT_STORE,
    DataRootOption,
    JsonOption,
    QuietOption,
    StoreOption,
    TrustOption,
)
from structure.cli.terminal import Terminal
from structure.pipeline.encoders.pooling import POOLINGS
from structure.store.errors import UsageError


def extract(
    model: Annotated[
        list[str],
        typer.Option(
            "--model",
            help="Encoder; repeat for several; ?image_size=N&crop_pct=P sets the image preprocessing, "
            "?bits=4&device_map=auto quantization and device placement. See: structure models",
            autocompletion=completion.models,
        ),
    ],
    dataset: Annotated[str, typer.Option(help="Dataset. See: structure datasets", autocompletion=completion.datasets)],
    split: Annotated[str | None, typer.Option(help="Split; the dataset's usual training part by default.")] = None,
    layers: Annotated[
        str, typer.Option(help="Comma-separated globs over layer names, such as 'block.*,pooled'.")
    ] = "*",
    tokens: Annotated[
        list[str] | None,
        typer.Option("--tokens", help="Keep all tokens of these layers too: a name or glob; repeat, or use commas."),
    ] = None,
    pool: Annotated[
        str, typer.Option(help=f"{', '.join(POOLINGS)}; several with commas. The encoder's own by default.")
    ] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N items (a split of its own).")] = None,
    batch_size: Annotated[
        str, typer.Option(help="A number, or auto: on a GPU the size that is fastest; kept for the feature set.")
    ] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto (fp16, fp32 for a layer that overflows), fp16 or fp32.")] = "auto",
    amp: Annotated[str, typer.Option(help="auto, bf16, fp16 or off.")] = "auto",
    workers: Annotated[int | None, typer.Option(min=0, help="Processes that decode pictures.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a dask scheduler: its workers encode, a shard at a time.")
    ] = None,
    captions: Annotated[str, typer.Option(help="first, all, or a number of captions for each item.")] = "first",
    views: Annotated[
        int, typer.Option(min=1, help="Views of each picture: the plain one and N-1 augmented ones, for --method sma.")
    ] = 1,
    on_bad_sample: Annotated[str, typer.Option(help="skip (counted and listed) or fail.")] = "skip",
    revision: Annotated[str | None, typer.Option(help="Pin the weights' revision.")] = None,
    trust_remote_code: TrustOption = False,
    append: Annotated[bool, typer.Option("--append", help="The dataset has grown: extract only what is new.")] = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    store: StoreOption = DEFAULT_STORE,
    data_root: DataRootOption = DEFAULT_DATA,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Extract every layer of frozen encoders over a dataset, in one forward pass an item.

    Example: structure extract --model dinov2 --model roberta --dataset coco
    """
    from structure.cli.choices import choice, count_or, words
    from structure.cli.cluster import spread_on
    from structure.pipeline.stages.extract import extract as run

    terminal = Terminal(as_json=as_json, quiet=quiet)
    if scheduler is not None and dry_run:
        raise UsageError("--dry-run times the encoder on this machine: leave out --scheduler.")
    with terminal.working() as listener, spread_on(scheduler, device=device, say=terminal.say) as (spread, place):
        done = run(
            model,
            dataset,
            store=store,
            split=split,
            data_root=data_root,
            layers=words("--layers", layers),
            tokens=[word for value in tokens or () for word in words("--tokens", value)],
            pool=[choice("--pool", word, tuple(POOLINGS)) for word in words("--pool", pool)],
            limit=limit,
            batch_size=count_or("--batch-size", batch_size, ("auto",)),
            device=place,
            dtype=choice("--dtype", dtype, ("auto", "fp16", "fp32")),
            amp=choice("--amp", amp, ("auto", "bf16", "fp16", "off")),
            workers=workers,
            captions=count_or("--captions", captions, ("first", "all")),
            views=views,
            on_bad_sample=choice("--on-bad-sample", on_bad_sample, ("skip", "fail")),
            revision=revision,
            trust_remote_code=trust_remote_code,
            append=append,
            dry_run=dry_run,
            spread=spread,
            confirm=asking(yes=yes),
            on_event=listener,
        )
    rows = [extracted.row() for extracted in done]
    if as_json:
        terminal.document({"store": store, "dry_run": dry_run, "features": rows})
        return
    columns = ["features", "modality", "rows", "layers", "bytes", "state", "skipped"]
    if dry_run:
        columns = ["features", "rows", "layers", "bytes", "pending_rows", "pending_bytes"]
        columns += ["batch", "estimated_seconds", "memory"]
    terminal.table(rows, columns)
    if not dry_run:
        terminal.say(f"In {store}. Next: structure rank-layers --store {store}")
