"""`structure models`."""

from __future__ import annotations

from typing import Annotated

import typer

from structure.cli import completion
from structure.cli.options import JsonOption, TrustOption
from structure.cli.terminal import Terminal


def models(
    name: Annotated[
        str | None,
        typer.Argument(help="An alias or a spec: show its layers and widths.", autocompletion=completion.models),
    ] = None,
    trust_remote_code: TrustOption = False,
    as_json: JsonOption = False,
) -> None:
    """List the encoders that can be named, or one encoder's layers and widths (no weights are downloaded).

    Example: structure models dinov2
    """
    from structure.pipeline.encoders.catalogue import catalogue
    from structure.pipeline.encoders.loading import describe
    from structure.pipeline.encoders.model_names import model_forms

    terminal = Terminal(as_json=as_json, quiet=False)
    if name is not None:
        found = describe(name, trust_remote_code=trust_remote_code)
        layers = [{"layer": layer.name, "width": layer.width, "form": layer.form} for layer in found.layers]
        facts = {
            "name": found.name,
            "spec": found.spec,
            "modality": found.modality,
            "parameters": found.parameters,
            "input": found.input,
            "pooling": found.default_pooling,
            "preprocessing": found.preprocessing or "as its checkpoint says (shown once its files are on this machine)",
            "present": found.present,
            "weights": found.weights,
            "note": found.note,
        }
        if as_json:
            terminal.document({**facts, "layers": layers})
            return
        terminal.table([{"": key, "value": str(value)} for key, value in facts.items()], ["", "value"])
        terminal.table(layers, ["layer", "width", "form"])
        return
    rows = [
        {
            "name": alias.name,
            "modality": alias.modality,
            "layers": len(alias.layers),
            "width": max(alias.widths),
            "million parameters": round(alias.parameters / 1e6),
            "pooling": alias.pooling,
            "spec": alias.spec,
        }
        for alias in catalogue().values()
    ]
    if as_json:
        terminal.document({"models": rows})
    else:
        terminal.table(rows, list(rows[0]))
        terminal.say(f"Also: {model_forms()}.")
