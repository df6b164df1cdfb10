"""`structure export`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from structure.cli import completion
from structure.cli.choices import choice, listed
from structure.cli.flags import StoreFlags, TrustFlags, takes_flags
from structure.pipeline.exports.registry import EXPORT_FORMATS
from structure.store.errors import StructureError, UsageError

FORMATS, BUNDLE = listed(EXPORT_FORMATS), "bundle"


class FormatsInHelp(TyperCommand):
    """Help that ends with who reads each format. The formats are loaded for that alone."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self.epilog = "\n\n".join(["Formats:", *(f"{name}: {_about(name)}" for name in FORMATS)])
        super().format_help(ctx, formatter)


def _about(name: str) -> str:
    """What a format says of itself, or why it cannot."""
    try:
        return EXPORT_FORMATS[name].about
    except StructureError as error:  # of another package
        return str(error)


@dataclass(frozen=True, kw_only=True)
class ExportFlags(TrustFlags, StoreFlags):
    """What is taken elsewhere, and in which form."""

    aligner: Annotated[str, typer.Argument(help="Name of an aligner in the store.", autocompletion=completion.aligners)]
    folder: Annotated[Path, typer.Argument(help="A new folder.")]
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help=", ".join(FORMATS) + ".",
            autocompletion=completion.among(FORMATS),
            show_default=False,
        ),
    ] = None
    bundle: Annotated[bool, typer.Option("--bundle", help="The same as --format bundle.")] = False
    classes: Annotated[
        str | None,
        typer.Option(help="Class names that go along: with commas, or a file (bundle).", show_default=False),
    ] = None
    prompt: Annotated[
        list[str] | None,
        typer.Option(help="Template with {c} that goes along; repeat for several (bundle).", show_default=False),
    ] = None

    @property
    def chosen(self) -> str:
        """The format. Raises UsageError for none and for two."""
        if self.bundle and self.format not in (None, BUNDLE):
            raise UsageError(
                f"--bundle is --format {BUNDLE}, and --format {self.format} says otherwise. Pass one of them."
            )
        if self.format is None and not self.bundle:
            raise UsageError(f"Which format? Pass --format, one of {', '.join(FORMATS)}.")
        return str(choice("--format", self.format or BUNDLE, FORMATS))


@takes_flags
def export(flags: ExportFlags) -> None:
    """Take an aligned model elsewhere; what a format cannot express exactly is refused, with what can.

    Example: structure export my-aligner --format open-clip exported
    """
    chosen = flags.chosen
    from structure.pipeline.inference.labels import read_classes
    from structure.pipeline.stages.export import export as run

    terminal = flags.terminal()
    done = run(
        flags.aligner,
        flags.folder,
        format=chosen,
        store=flags.store,
        classes=read_classes(flags.classes) if flags.classes else (),
        templates=flags.prompt or (),
        trust_remote_code=flags.trust_remote_code,
    )
    document = done.to_json()
    if flags.as_json:
        terminal.document(document)
        return
    rows = [{"": key, "value": str(value)} for key, value in document.items()]
    terminal.table(rows, ["", "value"])
