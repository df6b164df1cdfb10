"""`structure search`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from structure.cli.choices import byte_count, choice, words
from structure.cli.flags import takes_flags
from structure.cli.terminal import Terminal
from structure.cli.using import GalleryFlags
from structure.store.errors import UsageError

if TYPE_CHECKING:
    from structure.pipeline.inference.search_result import Hit, SearchResult

TARGETS, SCORES = ("images", "text"), ("cosine", "csls")
NOUNS = {"images": "images", "vision": "images", "text": "texts"}
COLUMNS = ("rank", "score", "id", "caption", "path", "file")
"""Of the table; those after the first three only where a row has something in it."""


@dataclass(frozen=True, kw_only=True)
class SearchFlags(GalleryFlags):
    """What to look for, and where."""

    queries: Annotated[
        list[str] | None, typer.Argument(metavar="[WORDS]...", help="What the images show; several queries in quotes.")
    ] = None
    index: Annotated[
        Path | None, typer.Option(help="Search this folder of structure index: not exactly.", show_default=False)
    ] = None
    image: Annotated[
        list[Path] | None, typer.Option(help="An image file as query; repeat for several.", show_default=False)
    ] = None
    to: Annotated[
        str, typer.Option("--to", help="images, or text: captions; with --hub any modality of its aligners.")
    ] = "images"
    hub: Annotated[
        str | None,
        typer.Option(
            help="In place of --aligner: aligners with commas, each of one modality with the hub.", show_default=False
        ),
    ] = None
    hub_modality: Annotated[str, typer.Option(help="Of --hub: the modality that all of its aligners have.")] = "text"
    item: Annotated[
        list[str] | None,
        typer.Option(help="Of --hub: a sample as query, by its row of modality --from; repeat.", show_default=False),
    ] = None
    origin: Annotated[str, typer.Option("--from", help="Of --hub: the modality of --item.", show_default=False)] = ""
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
    if flags.hub is not None:
        _search_hub(flags, terminal, memory)
        return
    if flags.item or flags.origin:
        raise UsageError("--item and --from are of --hub. Name the aligners: --hub A,B")
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
    done = flags.done(terminal, request, run, plan)
    if done is None:
        return
    if flags.as_json:
        terminal.document(done.to_json())
    else:
        show(terminal, done)


def _search_hub(flags: SearchFlags, terminal: Terminal, memory: int) -> None:
    """The same across several modalities. Raises UsageError for what is of one aligner alone."""
    reasons: dict[str, tuple[object, str]] = {
        "--aligner": (flags.aligner, "--hub names the aligners"),
        "--index": (flags.index, "an index holds the space of one aligner, and a query may come from another"),
        "--scores csls": (
            flags.scores != "cosine",
            "csls compares what is searched with the texts of one aligner, and a query may be of any modality",
        ),
        "--dry-run": (flags.dry_run, "a hub searches what its aligners have in the store"),
    }
    for option, (value, reason) in reasons.items():
        if value:
            raise UsageError(f"{option} has no meaning beside --hub: {reason}. Leave it out.")
    from structure.pipeline.stages.search_hub import HubSearchRequest, run

    request = HubSearchRequest(
        words("--hub", flags.hub or ""),
        flags.to,
        queries=flags.queries or (),
        image=flags.image or (),
        item=flags.item or (),
        origin=flags.origin,
        hub=flags.hub_modality,
        dataset=flags.dataset,
        split=flags.split,
        images=flags.images,
        k=flags.k,
        memory=memory,
        out=flags.out,
    )
    context = flags.context()
    with terminal.working() as listener:
        done = run(request, replace(context, on_event=listener))
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
        f"{done.rows:,} {NOUNS.get(done.to, f'rows of {done.to}')} of {done.dataset} searched with {done.aligner}"
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
