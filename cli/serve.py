"""`structure serve`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from structure.cli import completion
from structure.cli.choices import byte_count
from structure.cli.consent import show_ahead
from structure.cli.flags import takes_flags
from structure.cli.using import PlannedUsingFlags


@dataclass(frozen=True, kw_only=True)
class ServeFlags(PlannedUsingFlags):
    """What is searched, and where the server listens."""

    dataset: Annotated[
        str | None,
        typer.Option(
            help="Dataset of the store, or pairs:FILE, coco, ...; by default the one the aligner was trained on.",
            autocompletion=completion.kept_datasets,
            show_default=False,
        ),
    ] = None
    images: Annotated[
        Path | None,
        typer.Option(help="Search this folder of images, which is encoded once.", show_default=False),
    ] = None
    host: Annotated[
        str, typer.Option(help="Address to listen at. Any other than this one lets the network in, without a password.")
    ] = "127.0.0.1"
    port: Annotated[int, typer.Option(help="0: any that is free.")] = 8765
    memory: Annotated[str, typer.Option(help="Bytes that a search may hold, such as 512MB.")] = "1GiB"


@takes_flags
def serve(flags: ServeFlags) -> None:
    """Search from a page in the browser: type words or drop an image. Behind it is a JSON API. Ctrl-C ends it.

    Needs the extra `serve`. Example: structure serve --aligner my-aligner
    """
    terminal = flags.terminal()
    memory = byte_count("--memory", flags.memory)
    from structure.pipeline.stages.serve import ServeRequest, plan, run

    request = ServeRequest(
        aligner=flags.aligner,
        dataset=flags.dataset,
        split=flags.split,
        images=flags.images,
        host=flags.host,
        port=flags.port,
        memory=memory,
    )
    context = flags.context()
    if flags.dry_run:
        with terminal.working() as listener:
            parts = plan(request, replace(context, on_event=listener))
        show_ahead(terminal, context.store.url, [part.row() for part in parts])
        return
    with terminal.working() as listener:
        server = run(request, replace(context, on_event=listener))
    with server:
        facts = server.facts
        if terminal.as_json:
            terminal.document({"url": server.url, **facts})
            sys.stdout.flush()  # a program that reads it waits for it now, not at the end
        images = f"{facts['rows']['images']:,} images of {facts['dataset']}"
        terminal.say(f"{images}, searched with {facts['aligner']}, at {server.url} (Ctrl-C ends it)")
        server.wait()
    terminal.say("Ended.")
