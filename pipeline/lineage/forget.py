"""Remove what was evaluated on a split: its numbers, the answers to each sample, and reports, which show some."""

from __future__ import annotations

from collections.abc import Collection

from structure.pipeline.evaluation.clip_benchmark_json import Record
from structure.pipeline.lineage.dependents import comparisons_of
from structure.pipeline.results import FILE, Result, every_result, write_results
from structure.store import Store
from structure.store.errors import DamageError
from structure.store.files import Files

REPORTS = "reports"
PER_SAMPLE = ("predictions", "confusion", "classes", "examples")
"""Folders of an aligner's results with a table for each question."""


def results_on(store: Store, splits: Collection[tuple[str, str]]) -> dict[str, list[Result]]:
    """Aligner -> its results on samples of one of these (dataset, split); those of an earlier version, which do not say
    what they are on, count too."""
    found: dict[str, list[Result]] = {}
    folder = store.folder("results")
    for name in folder.holding(FILE):
        results = [one for one in every_result(folder.at(name)) if _is_on(one, splits)]
        if results:
            found[name] = results
    return found


def _is_on(result: Result, splits: Collection[tuple[str, str]]) -> bool:
    asked = result.provenance.get("samples")
    return not isinstance(asked, dict) or (asked.get("dataset"), asked.get("split")) in splits


def forget_results(store: Store, splits: Collection[tuple[str, str]]) -> dict[str, int]:
    """Remove the results on these splits, with the comparisons of their aligners, and all reports where there were any.
    Returns aligner -> how many numbers. Files go before the rows that name them, so that a killed run is finished by
    the next one."""
    found = results_on(store, splits)
    for aligner, gone in found.items():
        folder = store.folder("results", aligner)
        for question in {one.question: one for one in gone}.values():
            _remove_files(folder, question)
        for key in comparisons_of(store, aligner):
            store.files.remove(key)
        questions = {one.question for one in gone}
        write_results(folder, [one for one in every_result(folder) if one.question not in questions])
    if found:
        store.files.remove_tree(REPORTS)
    return {aligner: len(gone) for aligner, gone in found.items()}


def _remove_files(folder: Files, result: Result) -> None:
    """The files of the result's question."""
    for kind in PER_SAMPLE:
        folder.remove(f"{kind}/{result.file}")
    stem = f"pictures/{result.file.removesuffix('.parquet')}_"
    for key in folder.keys("pictures"):
        if key.startswith(stem):
            folder.remove(key)
    for key in folder.keys(""):
        if "/" not in key and key.endswith(".json"):
            try:
                record = Record.from_json(folder.read(key).decode(), name=key)
            except (DamageError, UnicodeDecodeError):
                continue
            if record.task == result.task and result.dataset in (record.dataset, f"{record.dataset}/{record.language}"):
                folder.remove(key)
