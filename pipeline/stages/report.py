"""Stage 5: one self-contained page of what is in a store: features, rankings, training, results, comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from structure.pipeline.evaluation.outdated import stale
from structure.pipeline.page import (
    costs,
    examples,
    glossary,
    layers,
    models,
    pivot,
    results,
    selection,
    setup,
    sweeps,
    training,
    verdict,
)
from structure.pipeline.page.blocks import Section
from structure.pipeline.page.files import write_files
from structure.pipeline.page.html import render
from structure.pipeline.page.source import Source
from structure.pipeline.page.title import title
from structure.pipeline.progress import Listener, Note, silent
from structure.store import Store, open_store
from structure.store.files import Files

PAGE = "report.html"

SECTIONS = (
    verdict.section,
    pivot.section,
    setup.section,
    sweeps.section,
    sweeps.differences,
    sweeps.efficiency,
    layers.section,
    models.section,
    sweeps.correlations,
    selection.section,
    training.section,
    results.section,
    results.published,
    examples.retrieval,
    examples.confusion,
    examples.segmentation,
    costs.section,
    glossary.section,
)
"""In the order of the page."""


def page_of(store: Store) -> str:
    """The page itself, for a place of the caller's own; nothing is written. Raises as `report` does."""
    return _rendered(store, None)[1]


def _rendered(store: Store, summary: Mapping[str, Any] | None) -> tuple[list[Section], str]:
    source = replace(Source.of(store, summary), stale=stale(store))
    sections = [section(source) for section in SECTIONS]
    return sections, render(title(source), store.url, sections)


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
    what every recipe left in the store. `files` is a folder for each chart as PNG and each table as CSV. Everything
    from the data (captions, class names, model names) is escaped; the page loads nothing from elsewhere. Raises
    DamageError for a record in the store that does not read.
    """
    target = store if isinstance(store, Store) else open_store(store)
    sections, page = _rendered(target, summary)
    if out is not None:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        Path(out).write_text(page, encoding="utf-8")
    else:
        (folder or target.files).write(PAGE, page.encode())
    address = str(out) if out is not None else f"{folder or target.files}/{PAGE}"
    on_event(Note(f"report: {address}"))
    if files is not None:
        count = write_files(sections, Path(files))
        on_event(Note(f"{count} charts and tables: {files}"))
    return address
