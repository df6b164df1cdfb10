"""Stage 5: one self-contained page of what is in a store: features, rankings, training, results, comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from structure.pipeline.page.freshness import is_fresh, is_marked, is_whole, made_from, marked, place_of
from structure.pipeline.progress import Listener, Note, silent
from structure.store import Store, open_store
from structure.store.files import Files

PAGE = "report.html"


def page_of(store: Store) -> str:
    """The page itself, for a place of the caller's own; nothing is written. Raises as `report` does."""
    from structure.pipeline.evaluation.outdated import stale
    from structure.pipeline.page.whole import whole_page

    return whole_page(store, None, stale(store))[1]


def report(
    *,
    store: Store | str | Path,
    out: str | Path | None = None,
    folder: Files | None = None,
    files: str | Path | None = None,
    summary: Mapping[str, Any] | None = None,
    on_event: Listener = silent,
) -> str:
    """Write the page to the file `out`, else as `report.html` into `folder` (the store by default); returns where.

    `summary` has a recipe's results (means over seeds, paired differences, correlations); without it the page shows
    what every recipe left in the store. A page that would come out the same is left as it is. `files` is a folder for
    each chart as PNG and each table as CSV. Everything from the data (captions, class names, model names) is escaped;
    the page loads nothing from elsewhere. Raises DamageError for a record in the store that does not read.
    """
    target = store if isinstance(store, Store) else open_store(store)
    digest = made_from(target, summary)
    place = Path(out) if out is not None else None
    inside = folder or target.files
    before, key = _read(place, inside), inside.key(PAGE) if place is None else ""
    address = str(out) if out is not None else f"{inside}/{PAGE}"
    if files is None and is_fresh(before, digest, key):
        on_event(Note(f"report: {address} shows all there is"))
        return address
    from structure.pipeline.evaluation.outdated import stale
    from structure.pipeline.page.files import write_files
    from structure.pipeline.page.whole import whole_page

    sections, page = whole_page(target, summary, stale(target))
    if place is not None:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(marked(page, digest, key))
    else:
        inside.write(PAGE, marked(page, digest, key))
    on_event(Note(f"report: {address}"))
    if files is not None:
        count = write_files(sections, Path(files))
        on_event(Note(f"{count} charts and tables: {files}"))
    return address


def is_whole_page(page: bytes, place: str) -> bool:
    """Whether a page is what was written under this key; one of an earlier version, without a checksum or its key, is
    taken as it is."""
    return (is_whole(page) and place_of(page) in (None, place)) or not is_marked(page)


def _read(place: Path | None, folder: Files) -> bytes:
    """The page that is there, or nothing."""
    try:
        return folder.read(PAGE) if place is None else place.read_bytes()
    except OSError:
        return b""
