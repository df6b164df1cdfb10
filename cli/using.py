"""Flags of the commands that use an aligner: search, label, embed, index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from structure.cli import completion
from structure.cli.consent import DryRunOption, YesOption, asking
from structure.cli.flags import DataFlags, StoreFlags, TrustFlags

if TYPE_CHECKING:
    from structure.pipeline.run_context import RunContext

DataArgument = Annotated[
    str,
    typer.Argument(
        metavar="DIR_OR_DATASET",
        help="A folder of images, a dataset of the store, or pairs:FILE, coco, ...",
        autocompletion=completion.kept_datasets,
    ),
]


@dataclass(frozen=True, kw_only=True)
class UsingFlags(TrustFlags, StoreFlags, DataFlags):
    """Which aligner is used, on which split, and where it computes."""

    aligner: Annotated[
        str | None,
        typer.Option(help="Aligner; the newest by default.", autocompletion=completion.aligners, show_default=False),
    ] = None
    split: Annotated[str | None, typer.Option(help="One split; all by default.", show_default=False)] = None
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0.")] = "auto"
    yes: YesOption = False

    def context(self) -> RunContext:
        """Where the command works; nobody listens yet."""
        from structure.pipeline.run_context import RunContext

        return RunContext.of(
            self.store,
            data_root=self.data_root,
            device=self.device,
            trust_remote_code=self.trust_remote_code,
            confirm=asking(yes=self.yes),
        )


@dataclass(frozen=True, kw_only=True)
class PlannedUsingFlags(UsingFlags):
    """The same, and whether the command only plans."""

    dry_run: DryRunOption = False
