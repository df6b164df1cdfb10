"""`structure extract`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from structure.cli import completion
from structure.cli.choices import choice, count_or, words
from structure.cli.cluster import map_on
from structure.cli.consent import asking
from structure.cli.flags import DataFlags, PlanFlags, StoreFlags, TrustFlags, takes_flags
from structure.cli.terminal import Terminal
from structure.pipeline.encoders.pooling import POOLINGS
from structure.store.errors import UsageError

if TYPE_CHECKING:
    from structure.pipeline.stages.extract import Extracted


@dataclass(frozen=True, kw_only=True)
class ExtractFlags(TrustFlags, PlanFlags, StoreFlags, DataFlags):
    """Which encoders read which dataset, and what is stored of them."""

    model: Annotated[
        list[str],
        typer.Option(
            "--model",
            help="Encoder; repeat for several; ?image_size=N&crop_pct=P sets the image preprocessing, "
            "?bits=4&device_map=auto quantization and device placement, ?prompt=NAME a prompt. See: structure models",
            autocompletion=completion.models,
        ),
    ]
    dataset: Annotated[str, typer.Option(help="Dataset. See: structure datasets", autocompletion=completion.datasets)]
    split: Annotated[str | None, typer.Option(help="Split; the dataset's usual training part by default.")] = None
    layers: Annotated[str, typer.Option(help="Comma-separated globs over layer names, such as 'block.*,pooled'.")] = "*"
    tokens: Annotated[
        list[str] | None,
        typer.Option("--tokens", help="Keep all tokens of these layers too: a name or glob; repeat, or use commas."),
    ] = None
    pool: Annotated[
        str, typer.Option(help=f"{', '.join(POOLINGS)}; several with commas. The encoder's own by default.")
    ] = ""
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N samples (a split of its own).")] = None
    batch_size: Annotated[
        str, typer.Option(help="A number, or auto: on a GPU the size that is fastest; saved for the feature set.")
    ] = "auto"
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0.")] = "auto"
    dtype: Annotated[str, typer.Option(help="auto (fp16, fp32 for a layer that overflows), fp16 or fp32.")] = "auto"
    amp: Annotated[str, typer.Option(help="auto, bf16, fp16 or off.")] = "auto"
    workers: Annotated[int | None, typer.Option(min=0, help="Processes that decode images.")] = None
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a dask scheduler: its workers encode, a shard at a time.")
    ] = None
    captions: Annotated[str, typer.Option(help="first, all, or a number of captions for each sample.")] = "first"
    views: Annotated[
        int, typer.Option(min=1, help="Views of each image: the plain one and N-1 augmented ones, for --method sma.")
    ] = 1
    frames: Annotated[
        int, typer.Option(min=1, help="Frames of each video, evenly spaced and averaged; 1: the middle one.")
    ] = 1
    on_bad_sample: Annotated[str, typer.Option(help="skip (counted and listed) or fail.")] = "skip"
    revision: Annotated[str | None, typer.Option(help="Pin the weights' revision.")] = None
    name: Annotated[
        str | None, typer.Option("--as", help="What to call the encoder in the store; its own name by default.")
    ] = None
    append: Annotated[bool, typer.Option("--append", help="The dataset has grown: extract only what is new.")] = False


@takes_flags
def extract(flags: ExtractFlags) -> None:
    """Extract every layer of frozen encoders over a dataset, in one forward pass a sample.

    Example: structure extract --model dinov2 --model roberta --dataset coco
    """
    from structure.pipeline.run_context import RunContext
    from structure.pipeline.stage_requests.extract import AMPS, DTYPES, ON_BAD_SAMPLE, ExtractRequest

    if flags.scheduler is not None and flags.dry_run:
        raise UsageError("--dry-run times the encoder on this machine: leave out --scheduler.")
    terminal = flags.terminal()
    request = ExtractRequest(
        flags.model,
        flags.dataset,
        split=flags.split,
        layers=words("--layers", flags.layers),
        tokens=[word for value in flags.tokens or () for word in words("--tokens", value)],
        pool=[choice("--pool", word, tuple(POOLINGS)) for word in words("--pool", flags.pool)],
        limit=flags.limit,
        batch_size=count_or("--batch-size", flags.batch_size, ("auto",)),
        dtype=choice("--dtype", flags.dtype, DTYPES),
        amp=choice("--amp", flags.amp, AMPS),
        workers=flags.workers,
        captions=count_or("--captions", flags.captions, ("first", "all")),
        views=flags.views,
        frames=flags.frames,
        on_bad_sample=choice("--on-bad-sample", flags.on_bad_sample, ON_BAD_SAMPLE),
        revision=flags.revision,
        append=flags.append,
        name=flags.name,
    )
    context = RunContext.of(
        flags.store,
        data_root=flags.data_root,
        device=flags.device,
        trust_remote_code=flags.trust_remote_code,
        confirm=asking(yes=flags.yes),
    )
    from structure.pipeline.stages.extract import plan, run

    with (
        terminal.working() as listener,
        map_on(flags.scheduler, device=flags.device, say=terminal.say) as (map_fn, device),
    ):
        context = replace(context, device=device, on_event=listener)
        done = plan(request, context) if flags.dry_run else run(replace(request, map_fn=map_fn), context)
    _show(terminal, flags, done)


def _show(terminal: Terminal, flags: ExtractFlags, done: Sequence[Extracted]) -> None:
    rows = [extracted.row() for extracted in done]
    if flags.as_json:
        terminal.document({"store": flags.store, "dry_run": flags.dry_run, "features": rows})
        return
    columns = ["features", "modality", "rows", "layers", "bytes", "state", "skipped"]
    if flags.dry_run:
        columns = ["features", "rows", "layers", "bytes", "pending_rows", "pending_bytes"]
        columns += ["batch", "estimated_seconds", "memory"]
    terminal.table(rows, columns)
    if not flags.dry_run:
        terminal.say(f"In {flags.store}. Next: structure rank-layers --store {flags.store}")
