"""Which aligner a command takes that names none, and that it says so."""

from __future__ import annotations

from structure.pipeline.evaluation.evaluated_aligner import EvaluatedAligner, aligner_names
from structure.pipeline.run_context import RunContext
from structure.store import Store


def test_the_newest_is_taken_and_named_where_there_are_others(scenes_store: Store) -> None:
    told: list[str] = []
    context = RunContext.of(scenes_store, device="cpu", on_event=lambda event: told.append(getattr(event, "text", "")))
    (newest,) = aligner_names(scenes_store, [])
    assert EvaluatedAligner.of(context, None).name == newest
    (note,) = told
    assert note.startswith(f"aligner {newest}, the newest of ")
    assert "another with --aligner: " in note
    other = next(name for name in scenes_store.files.children("aligners") if name != newest)
    assert EvaluatedAligner.of(context, other).name == other
    assert len(told) == 1
