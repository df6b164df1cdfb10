"""An aligner in the store: what a run says of it, and whether the same run made it before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from structure.pipeline.aligners.aligner_bytes import aligner_bytes, how_to_mend, require_whole
from structure.pipeline.aligners.aligner_runs import HISTORY, RECORD, table_beside
from structure.pipeline.aligners.fit_result import FitFigures, FitResult
from structure.pipeline.progress import Listener, Note, silent
from structure.store import Store
from structure.store.errors import DamageError
from structure.store.files import Files


@dataclass(frozen=True)
class Aligned:
    """A trained aligner, where it was saved, and how it came about; `facts` are its metadata."""

    name: str
    folder: Files
    method: str
    facts: Mapping[str, Any]
    figures: FitFigures

    @cached_property
    def trained(self) -> FitResult:
        """How it came about, with the aligner: of one that was there before it is read now. Raises as `load_aligner`
        does."""
        if isinstance(self.figures, FitResult):
            return self.figures
        from structure.pipeline.aligners.aligner import load_aligner

        return FitResult(load_aligner(self.folder), **vars(self.figures))

    @property
    def layers(self) -> dict[str, str]:
        """The layers by side."""
        return dict(self.facts["layers"])

    @property
    def test(self) -> dict[str, float]:
        """Metrics of pairs that it never met."""
        return dict(self.facts.get("test_metrics", {}))

    @property
    def test_pairs(self) -> int:
        """How many these are."""
        return int(self.facts.get("test_pairs", 0))

    @property
    def selection(self) -> Mapping[str, Any] | None:
        """How the method was selected, where it was: `Selection.to_dict()`."""
        return self.facts.get("selection")

    def to_json(self) -> dict[str, Any]:
        """The document of `structure align --json`."""
        figures = self.figures
        return {
            "aligner": self.name,
            "method": self.method,
            "layers": self.layers,
            "pairs": figures.pairs,
            "validation_pairs": figures.validation_pairs,
            "test_pairs": self.test_pairs,
            "refit_pairs": figures.refit_pairs,
            "epochs": figures.epochs,
            "best_epoch": figures.best_epoch,
            "learning_rate": figures.rate,
            "metrics": figures.metrics,
            "test_metrics": self.test,
            "seconds": figures.seconds,
            "pairs_per_second": figures.pairs_per_second,
            **self._structure(),
            **self._selected(),
        }

    def _structure(self) -> dict[str, Any]:
        """What R_S was told to do on these pairs, where it took part."""
        found = self.facts.get("structure_diagnosis")
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
    """The aligner of that name, if the same run made it; its bytes are checked and torch is not imported. Raises
    DamageError for one that is damaged, which counts as none where it may be replaced."""
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
    record = require_whole(aligner_bytes(folder), source=str(folder), place=folder.place)
    try:
        method, facts = record["method"], record["metadata"]
        if facts.get("run") != run:
            return None
        figures = _figures(facts)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamageError(f"The aligner in {folder} cannot be read: {error}. {how_to_mend(folder.place)}") from error
    history = table_beside(store, name, HISTORY)
    made = FitFigures(**figures, history=[] if history is None else history.to_pylist())
    return Aligned(name, folder, method, facts, made)


def _figures(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a fit that an aligner's metadata hold, by name."""
    return {
        "metrics": dict(facts["metrics"]),
        "rate": facts.get("rate"),
        "pairs": facts["pairs"],
        "validation_pairs": facts["validation_pairs"],
        "refit_pairs": facts.get("refit_pairs", 0),
        "epochs": facts.get("epochs", 0),
        "best_epoch": facts.get("best_epoch", 0),
        "seconds": facts["seconds"],
        "pairs_per_second": facts["pairs"] * max(facts.get("epochs", 0), 1) / facts["seconds"],
    }
