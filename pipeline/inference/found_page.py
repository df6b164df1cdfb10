"""The page of a search: every query with its hits, and a thumbnail of every image that is on this machine."""

from __future__ import annotations

from collections.abc import Container

from structure.pipeline.datasets.decode_image import decode
from structure.pipeline.datasets.image_files import read_file
from structure.pipeline.evaluation.examples import jpeg
from structure.pipeline.inference.found_rows import FoundRows
from structure.pipeline.inference.search_result import Hit, SearchResult
from structure.pipeline.page.search_page import PageHit, PageQuery, search_page
from structure.pipeline.shown_paths import shown_name, shown_path


def found_page(done: SearchResult, rows: FoundRows, *, images: Container[int]) -> str:
    """HTML without any other file. `images`: which of the queries are image files."""
    shown = []
    for number, answer in enumerate(done.queries):
        own = _query_thumbnail(answer.query) if number in images else None
        hits = tuple(_page_hit(hit, rows) for hit in answer.hits)
        shown.append(PageQuery(shown_path(answer.query) if number in images else answer.query, own, hits))
    dataset = shown_name(done.dataset)
    about = f"{done.rows:,} {done.to} of {dataset}, aligner {done.aligner}, scores: {done.scores}."
    return search_page(f"Search in {dataset}", about, shown)


def _page_hit(hit: Hit, rows: FoundRows) -> PageHit:
    thumbnail = jpeg(lambda: rows.image(hit))
    notes = tuple(line for line in (hit.caption, shown_path(hit.path), hit.note) if line)
    return PageHit(hit.rank, hit.score, hit.id, thumbnail, notes)


def _query_thumbnail(path: str) -> bytes | None:
    return jpeg(lambda: decode(read_file(path, item=path), item=path))
