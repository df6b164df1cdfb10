"""`structure export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from structure.cli import completion
from structure.cli.choices import choice
from structure.cli.options import DEFAULT_STORE, JsonOption, QuietOption, StoreOption, TrustOption
from structure.cli.terminal import Terminal

FORMATS = ("safetensors", "open-clip", "clip-benchmark", "onnx")


def export(
    aligner: Annotated[
        str, typer.Argument(help="Name of an aligner in the store.", autocompletion=completion.aligners)
    ],
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    format: Annotated[str, typer.Option("--format", help=", ".join(FORMATS) + ".")],
    trust_remote_code: TrustOption = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Take an aligned model elsewhere; what a format cannot express exactly is refused, with what can.

    Example: structure export my-aligner --format open-clip exported
    """
    chosen = choice("--format", format, FORMATS)
    from structure.pipeline.stages.export import export as run

    terminal = Terminal(as_json=as_json, quiet=quiet)
    done = run(aligner, folder, format=chosen, store=store, trust_remote_code=trust_remote_code)
    document = done.to_json()
    if as_json:
        terminal.document(document)
        return
    rows = [{"": key, "value": str(value)} for key, value in document.items()]
    terminal.table(rows, ["", "value"])
