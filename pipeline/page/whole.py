"""The whole page of a store: its sections in their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from structure.pipeline.page import (
    costs,
    examples,
    glossary,
    layers,
    models,
    pair_curves,
    pivot,
    results,
    selection,
    setup,
    sweeps,
    training,
    verdict,
)
from structure.pipeline.page.blocks import Section
from structure.pipeline.page.html import render
from structure.pipeline.page.source import Source
from structure.pipeline.page.title import title
from structure.pipeline.shown_paths import shown_path
from structure.store import Store

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
    pair_curves.section,
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


def whole_page(
    store: Store, summary: Mapping[str, Any] | None, stale: Sequence[Mapping[str, Any]]
) -> tuple[list[Section], str]:
    """Its sections, and the page as HTML; `summary` and `stale` as in `Source`. Raises DamageError for a record in the
    store that does not read."""
    source = replace(Source.of(store, summary), stale=stale)
    sections = [section(source) for section in SECTIONS]
    return sections, render(title(source), shown_path(store.url), sections)
