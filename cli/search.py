"""`structure search`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from structure.cli import completion
from structure.cli.choices import byte_count, choice
from structure.cli.consent import show_ahead
from structure.cli.flags import takes_flags
from structure.cli.terminal import Terminal
from structure.cli.using import PlannedUsingFlags

if TYPE_CHECKING:
    from structure.pipeline.inference.search_result import Hit, SearchResult

TARGETS, SCORES = ("images", "text"), ("cosine", "csls")
COLUMNS = ("rank", "score", "id", "caption", "path", "file")
"""Of the table; those after the first three only where a row has something in it."""


@dataclass(frozen=True, kw_only=True)
class SearchFlags(PlannedUsingFlags):
    """What to look for, and where."""

    queries: Annotated[
        list[str] | None, typer.Argument(metavar="[WORDS]...", help="What the images show; several queries in quotes.")
    ] = None
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
    index: Annotated[
        Path | None, typer.Option(help="Search this folder of structure index: not exactly.", show_default=False)
    ] = None
    image: Annotated[
        list[Path] | None, typer.Option(help="An image file as query; repeat for several.", show_default=False)
    ] = None
    to: Annotated[str, typer.Option("--to", help="images, or text: captions.")] = "images"
    k: Annotated[int, typer.Option("-k", "--top", help="Answers for each query.", min=1)] = 10
    scores: Annotated[
        str, typer.Option(help="cosine: the aligner's own; csls: corrected for images that are near to every query.")
    ] = "cosine"
    memory: Annotated[str, typer.Option(help="Bytes that the search may hold, such as 512MB.")] = "1GiB"
    out: Annotated[Path | None, typer.Option(help="A self-contained page with thumbnails.", show_default=False)] = None


@takes_flags
def search(flags: SearchFlags) -> None:
    """Find the images nearest to words or to an image, from cached features; only the query is encoded.

    Example: structure search "a red circle" --out found.html
    """
    terminal = flags.terminal()
    memory = byte_count("--memory", flags.memory)
    to, scores = choice("--to", flags.to, TARGETS), choice("--scores", flags.scores, SCORES)
    from structure.pipeline.stages.search import SearchRequest, plan, run

    request = SearchRequest(
        flags.queries or (),
        image=flags.image or (),
        aligner=flags.aligner,
        dataset=flags.dataset,
        split=flags.split,
        images=flags.images,
        index=flags.index,
        to=to,
        k=flags.k,
        scores=scores,
        memory=memory,
        out=flags.out,
    )
    context = flags.context()
    with terminal.working() as listener:
        context = replace(context, on_event=listener)
        done = plan(request, context) if flags.dry_run else run(request, context)
    if isinstance(done, tuple):
        show_ahead(terminal, flags.store, [part.row() for part in done])
        return
    if flags.as_json:
        terminal.document(done.to_json())
    else:
        show(terminal, done)


def show(terminal: Terminal, done: SearchResult) -> None:
    """One table for each query."""
    for answer in done.queries:
        rows = [_row(hit) for hit in answer.hits]
        columns = [name for name in COLUMNS if name in COLUMNS[:3] or any(row[name] for row in rows)]
        terminal.table(rows, columns, title=answer.query)
    terminal.say(
        f"{done.rows:,} {'images' if done.to == 'images' else 'texts'} of {done.dataset} searched with {done.aligner}"
        f"{' and ' + done.index if done.index else ''} in {done.seconds:.1f} s."
    )


def _row(hit: Hit) -> dict[str, Any]:
    return {
        "rank": hit.rank,
        "score": hit.score,
        "id": hit.id,
        "caption": hit.caption,
        "path": hit.path,
        "file": hit.note,
    }
