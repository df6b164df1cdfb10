"""`structure serve`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

import typer

from structure.cli.choices import byte_count
from structure.cli.flags import takes_flags
from structure.cli.using import GalleryFlags


@dataclass(frozen=True, kw_only=True)
class ServeFlags(GalleryFlags):
    """What is searched, and where the server listens."""

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
    server = flags.done(terminal, request, run, plan)
    if server is None:
        return
    with server:
        facts = server.facts
        if terminal.as_json:
            terminal.document({"url": server.url, **facts})
            sys.stdout.flush()  # a program that reads it waits for it now, not at the end
        images = f"{facts['rows']['images']:,} images of {facts['dataset']}"
        terminal.say(f"{images}, searched with {facts['aligner']}, at {server.url} (Ctrl-C ends it)")
        server.wait()
    terminal.say("Ended.")
