"""An aligner written into the store: its files, in the place of one that was there."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from structure.pipeline.aligners.aligner import Aligner
from structure.pipeline.aligners.aligner_runs import HISTORY, RATES, RECORD
from structure.pipeline.aligners.fit_result import FitResult
from structure.pipeline.aligners.model_card import CARD, card
from structure.pipeline.progress import Listener, Note, silent
from structure.pipeline.results import remove_results
from structure.store import Store
from structure.store.files import Files
from structure.store.sealed_tables import packed


def save_aligned(
    store: Store,
    name: str,
    aligner: Aligner,
    trained: FitResult,
    *,
    more: Mapping[str, bytes] | None = None,
    on_event: Listener = silent,
) -> Files:
    """Write the aligner's files, and `more` beside them.

    Its record goes first and comes last: a killed run leaves nothing that looks whole.
    """
    folder = store.folder("aligners", name)
    gone = make_way(store, name)
    if gone is not None:
        on_event(Note(f"the aligner {name} was there and is replaced; {gone:,} results of it are removed"))
    files = dict(more or {})
    if trained.history:
        files[HISTORY] = packed(pa.Table.from_pylist(trained.history))
    if trained.curve is not None:
        files[RATES] = packed(pa.table({"rate": trained.curve.rates, "loss": trained.curve.losses}))
    folder.write(CARD, card(aligner, name).encode())
    return aligner.save(folder, beside=files)


def make_way(store: Store, name: str) -> int | None:
    """Remove the aligner of that name, if there is one: what was evaluated of it goes first, then its record, so that
    the same command finishes what a killed run began. Returns how many results that were, None without an aligner."""
    folder, gone = store.folder("aligners", name), None
    if folder.exists(RECORD):
        gone = remove_results(store, name)
        folder.remove(RECORD)
    folder.remove_tree("")
    return gone
