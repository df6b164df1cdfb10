"""Flags of the commands that use an aligner, and how they run or plan: search, label, embed, index, serve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from structure.cli import completion
from structure.cli.consent import DryRunOption, YesOption, asking, show_ahead
from structure.cli.flags import DataFlags, StoreFlags, TrustFlags

if TYPE_CHECKING:
    from structure.cli.terminal import Terminal
    from structure.pipeline.run_context import RunContext
    from structure.pipeline.work_estimate import WorkEstimate

Request = TypeVar("Request")
Done = TypeVar("Done")

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

    def done(
        self,
        terminal: Terminal,
        request: Request,
        run: Callable[[Request, RunContext], Done],
        plan: Callable[[Request, RunContext], Sequence[WorkEstimate]],
    ) -> Done | None:
        """What running the request gives; None where it was only planned, and the plan is shown."""
        context = self.context()
        with terminal.working() as listener:
            context = replace(context, on_event=listener)
            if not self.dry_run:
                return run(request, context)
            parts = plan(request, context)
        show_ahead(terminal, self.store, [part.row() for part in parts])
        return None


@dataclass(frozen=True, kw_only=True)
class GalleryFlags(PlannedUsingFlags):
    """The same, and what is searched."""

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
