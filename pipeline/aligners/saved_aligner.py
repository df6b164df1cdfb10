"""An aligner in the store: its files, what a run says of it, and whether the same run made it before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from structure.pipeline.aligners.aligner import Aligner, load_aligner
from structure.pipeline.aligners.aligner_runs import HISTORY, RATES, RECORD, table_beside
from structure.pipeline.aligners.fit_result import FitResult
from structure.pipeline.aligners.model_card import CARD, card
from structure.pipeline.progress import Listener, Note, silent
from structure.pipeline.results import remove_results
from structure.store import Store
from structure.store.errors import DamageError
from structure.store.files import Files
from structure.store.sealed_tables import packed


@dataclass(frozen=True)
class Aligned:
    """A trained aligner, where it was saved, and how it came about; `test` are metrics of pairs that it never met."""

    name: str
    folder: Files
    trained: FitResult
    layers: dict[str, str]
    test: dict[str, float]
    test_pairs: int
    selection: Mapping[str, Any] | None = None
    """How the method was selected, where it was: `Selection.to_dict()`."""

    def to_json(self) -> dict[str, Any]:
        """The document of `structure align --json`."""
        trained = self.trained
        return {
            "aligner": self.name,
            "method": trained.aligner.method,
            "layers": self.layers,
            "pairs": trained.pairs,
            "validation_pairs": trained.validation_pairs,
            "test_pairs": self.test_pairs,
            "refit_pairs": trained.refit_pairs,
            "epochs": trained.epochs,
            "best_epoch": trained.best_epoch,
            "learning_rate": trained.rate,
            "metrics": trained.metrics,
            "test_metrics": self.test,
            "seconds": trained.seconds,
            "pairs_per_second": trained.pairs_per_second,
            **self._structure(),
            **self._selected(),
        }

    def _structure(self) -> dict[str, Any]:
        """What R_S was told to do on these pairs, where it took part."""
        found = self.trained.aligner.metadata.get("structure_diagnosis")
        return {} if found is None else {"structure_diagnosis": found}

    def _selected(self) -> dict[str, Any]:
        """How the method was selected, where it was."""
        if self.selection is None:
            return {}
        rest = {name: value for name, value in self.selection.items() if name != "candidates"}
        return {"selection": self.selection["candidates"], "selected": rest}


def find_aligned(
    store: Store, name: str, run: str, *, replace: bool = False, on_event: Listener = silent
) -> Aligned | None:
    """The aligner of that name, if the same run made it. Raises DamageError for one that is damaged, which counts as
    none where it may be replaced."""
    try:
        found = _found(store, name, run)
    except DamageError:
        if not replace:
            raise
        on_event(Note(f"the aligner {name} is there and is damaged: it is trained again"))
        return None
    if found is not None:
        on_event(Note(f"the aligner {name} is there, made by the same run"))
    return found


def _found(store: Store, name: str, run: str) -> Aligned | None:
    folder = store.folder("aligners", name)
    if not folder.exists(RECORD):
        return None
    aligner = load_aligner(folder)
    facts = aligner.metadata
    if facts.get("run") != run:
        return None
    history = table_beside(store, name, HISTORY)
    trained = FitResult(
        aligner,
        metrics=dict(facts["metrics"]),
        rate=facts.get("rate"),
        pairs=facts["pairs"],
        validation_pairs=facts["validation_pairs"],
        refit_pairs=facts.get("refit_pairs", 0),
        epochs=facts.get("epochs", 0),
        best_epoch=facts.get("best_epoch", 0),
        seconds=facts["seconds"],
        history=[] if history is None else history.to_pylist(),
        pairs_per_second=facts["pairs"] * max(facts.get("epochs", 0), 1) / facts["seconds"],
    )
    test, layers = dict(facts.get("test_metrics", {})), dict(facts["layers"])
    return Aligned(name, folder, trained, layers, test, facts.get("test_pairs", 0), facts.get("selection"))


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
    if folder.exists(RECORD):
        folder.remove(RECORD)
        gone = remove_results(store, name)
        on_event(Note(f"the aligner {name} was there and is replaced; {gone:,} results of it are removed"))
    folder.remove_tree("")
    files = dict(more or {})
    if trained.history:
        files[HISTORY] = packed(pa.Table.from_pylist(trained.history))
    if trained.curve is not None:
        files[RATES] = packed(pa.table({"rate": trained.curve.rates, "loss": trained.curve.losses}))
    folder.write(CARD, card(aligner, name).encode())
    return aligner.save(folder, beside=files)
