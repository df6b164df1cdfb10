"""One page of what a search found: thumbnails, scores, ids. It is self-contained, and holds no script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from structure.pipeline.page.html import policy, style, template, version


@dataclass(frozen=True)
class PageHit:
    """An answer: `image` its thumbnail (JPEG or PNG) or None, `notes` the lines beneath it: caption, path, state."""

    rank: int
    score: float
    id: str
    image: bytes | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class PageQuery:
    """A query and its answers; `image` is that of an image query."""

    query: str
    image: bytes | None
    hits: tuple[PageHit, ...]


def search_page(title: str, about: str, queries: Sequence[PageQuery]) -> str:
    """The page. Whatever comes from the data is escaped by the template."""
    return template("search.html.j2").render(
        title=title, about=about, queries=queries, css=style(), policy=policy([]), version=version()
    )
