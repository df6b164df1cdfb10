"""`structure index`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from structure.cli import completion
from structure.cli.choices import choice
from structure.cli.flags import takes_flags
from structure.cli.using import PlannedUsingFlags
from structure.pipeline.inference.index_kinds import DEFAULT_KIND, KINDS

if TYPE_CHECKING:
    from structure.cli.terminal import Terminal
    from structure.pipeline.stages.index import IndexResult

SIDES = ("images", "text")


@dataclass(frozen=True, kw_only=True)
class IndexFlags(PlannedUsingFlags):
    """What is indexed, how, and into which folder."""

    out: Annotated[Path, typer.Option(help="A new folder; with --append the one of the index.")]
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Dataset of the store, a folder of images, or pairs:FILE, coco, ...; by default the one the aligner "
            "was trained on.",
            autocompletion=completion.kept_datasets,
            show_default=False,
        ),
    ] = None
    kind: Annotated[
        str | None,
        typer.Option(
            help=". ".join(f"{name}: {kind.meaning}" for name, kind in KINDS.items()) + f". By default {DEFAULT_KIND}.",
            show_default=False,
        ),
    ] = None
    of: Annotated[
        str | None, typer.Option("--of", help="images (the default), or text: captions.", show_default=False)
    ] = None
    append: Annotated[bool, typer.Option("--append", help="Add the rows that are not in the index yet.")] = False
    recall: Annotated[float, typer.Option(help="Recall@10 that searches of the index are set up for.")] = 0.95


@takes_flags
def index(flags: IndexFlags) -> None:
    """Make a faiss index of aligned embeddings, with its recall@10 against exact search. Needs the extra `index`.

    Example: structure index --dataset coco --out coco-index
    """
    kind = None if flags.kind is None else choice("--kind", flags.kind, tuple(KINDS))
    of = None if flags.of is None else choice("--of", flags.of, SIDES)
    from structure.pipeline.stages.index import IndexRequest, plan, run

    terminal = flags.terminal()
    request = IndexRequest(
        flags.dataset,
        out=flags.out,
        kind=kind,
        of=of,
        aligner=flags.aligner,
        split=flags.split,
        append=flags.append,
        recall=flags.recall,
    )
    done = flags.done(terminal, request, run, plan)
    if done is None:
        return
    if flags.as_json:
        terminal.document(done.to_json())
    else:
        _show(terminal, done)


def _show(terminal: Terminal, done: IndexResult) -> None:
    row = {"kind": done.kind, "rows": done.rows, "added": done.added, "bytes": done.bytes}
    row |= {"recall@10": done.recall["recall_at_10"], "ms": done.recall["milliseconds"]}
    row |= {"exact_ms": done.recall["exact_milliseconds"], "queries": done.recall["queries"]}
    if done.effort is not None:
        row[done.effort_name] = done.effort
    terminal.table([row], list(row))
    terminal.say(
        f"{done.out}: the {done.of} of {done.dataset}, aligned by {done.aligner}; recall@10 against exact search, and "
        f"milliseconds a query, with {done.recall['queries_are']}; in {done.seconds:.1f} s. Use it: structure search "
        f"--index {done.out} 'words'"
    )
