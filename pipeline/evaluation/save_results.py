"""Where the results of one aligner on one task go: JSON for CLIP_benchmark, flat rows, and a row a sample."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Self

from structure.pipeline.evaluation.clip_benchmark_json import Record
from structure.pipeline.evaluation.evaluated_aligner import EvaluatedAligner
from structure.pipeline.evaluation.task import TaskRows
from structure.pipeline.metrics.score import TaskScores
from structure.pipeline.results import (
    ASKED,
    RUN,
    Result,
    every_result,
    keep_results,
    predictions_file,
    remove_results,
)
from structure.store import Samples, Store
from structure.store.errors import DamageError
from structure.store.files import plain_name
from structure.store.fingerprint import fingerprint
from structure.store.sample_table import WITHDRAWN
from structure.store.sealed_tables import packed
from structure.store.seals import Seal, digests

WRITERS = 8
"""Aligners whose results are written at a time."""

WAITING_BYTES, WAITING_SECONDS = 64 * 2**20, 30.0
"""Results that wait to be written together: at most so much, or of so long, is lost with a process that is killed."""


def drop_damaged(store: Store, aligner: str) -> bool:
    """Remove all that was evaluated of an aligner where its numbers are damaged or those of another, so that an
    evaluation can write its own; whether they were."""
    folder = store.folder("results", aligner)
    try:
        every_result(folder)
    except DamageError:
        folder.remove_tree("")
        return True
    return False


def trained_on(store: Store, question: TaskRows, subject: EvaluatedAligner) -> int | None:
    """How many samples of the question, by the digest of what was read, are in the data that the aligner was trained
    on; None where nobody knows: no data are on record, or their table is not in this store."""
    samples, data = question.samples, subject.aligner.metadata.get("data")
    if not isinstance(data, Mapping) or not {"dataset", "split"} <= data.keys():
        return None
    split = data["dataset"], data["split"]
    if split == (samples.dataset, samples.split):
        return len(samples)
    if not store.files.exists(Samples.file(*split)):
        return None
    key = f"trained on {'/'.join(split)}"
    if key not in question.memo:
        met = {digest for _, digest in store.samples(*split).digests.values() if digest not in ("", WITHDRAWN)}
        question.memo[key] = sum(digest in met for _, digest in samples.digests.values())
    return int(question.memo[key])


class ResultsToSave:
    """What aligners reached, until it is written below `results/<aligner>/`, in place of those of the same question.

    `suite` is its label, `asked` are the options by which the evaluation can be asked for again. Written are the files
    of a question first, then the table of all results, which counts on them: once an aligner in `save`, however many
    questions there were. A store that cannot be written is left as it is.
    """

    def __init__(self, store: Store, *, suite: str, asked: str) -> None:
        self.store, self.suite, self.asked = store, suite, asked
        self._bytes, self._began = 0, time.monotonic()
        self._results: dict[str, dict[tuple[str, ...], list[Result]]] = {}
        self._files: dict[str, dict[str, bytes]] = {}
        self._earlier: dict[str, list[Result]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.save()

    def add(self, question: TaskRows, subject: EvaluatedAligner, judged: TaskScores) -> list[Result]:
        """The flat rows of one aligner on one task.

        What an earlier aligner of the name left is removed. The same data asked with other prompts, or another split,
        are another question: its rows and files stand beside.
        """
        results = self._rows(question, subject, judged)
        if not self.store.files.writable:
            return results
        name, task = subject.name, question.task
        earlier = self._others(subject)
        file = predictions_file(self.suite, task.title, task.kind)
        other = _set_apart(results[0].question, file, earlier) if results else ""
        if other:
            file = file.removesuffix(".parquet") + f"{other}.parquet"
            results = [replace(result, provenance={**result.provenance, "file": file}) for result in results]
        beside = self._beside(question, name, judged, file, other)
        files = self._files.setdefault(name, {}) | beside
        if results:
            seal = Seal.of(self.store.folder("results", name), f"predictions/{file}", results[0].owner)
            files[f"predictions/{file}"] = packed(judged.samples, seal, beside=digests(beside))
        self._bytes += sum(map(len, files.values())) - sum(map(len, self._files[name].values()))
        self._files[name] = files
        if results:
            self._results.setdefault(name, {})[results[0].question] = results
            earlier += results
        return results

    @property
    def is_due(self) -> bool:
        """Whether what waits is to be written now."""
        return self._bytes > WAITING_BYTES or time.monotonic() - self._began > WAITING_SECONDS

    def save(self) -> None:
        """Write what waits, several aligners at a time: most of it is waiting for the disk."""
        with ThreadPoolExecutor(WRITERS) as pool:
            for _ in pool.map(self._write, self._files):
                pass
        self._files.clear()
        self._results.clear()
        self._bytes, self._began = 0, time.monotonic()

    def _write(self, aligner: str) -> None:
        folder = self.store.folder("results", aligner)
        for name, content in self._files[aligner].items():
            folder.write(name, content)
        keep_results(folder, [one for results in self._results.get(aligner, {}).values() for one in results])

    def _others(self, subject: EvaluatedAligner) -> list[Result]:
        """The results that there are of the aligner, those that wait among them."""
        if subject.name not in self._earlier:
            earlier = every_result(self.store.folder("results", subject.name))
            if any(result.provenance.get(RUN, "") != _run(subject) for result in earlier):
                remove_results(self.store, subject.name)
                earlier = []
            self._earlier[subject.name] = earlier
        return self._earlier[subject.name]

    def _rows(self, question: TaskRows, subject: EvaluatedAligner, judged: TaskScores) -> list[Result]:
        task, facts = question.task, subject.aligner.metadata
        provenance = {
            RUN: _run(subject),
            ASKED: self.asked,
            **question.provenance(),
            **judged.notes,
            "encoders": {
                side.modality: str(side.identity.get("source", "")) for side in (subject.vision, subject.text)
            },
            "items_trained_on": trained_on(self.store, question, subject),
            "aligner_features": facts.get("fingerprints", {}),
        }
        return [
            Result(
                aligner=subject.name,
                suite=self.suite,
                dataset=task.title,
                task=task.kind,
                metric=metric,
                value=interval.value,
                low=interval.low,
                high=interval.high,
                n=interval.n,
                chance=judged.chance.get(metric),
                provenance=provenance,
            )
            for metric, interval in judged.intervals.items()
        ]

    def _beside(self, question: TaskRows, aligner: str, judged: TaskScores, file: str, other: str) -> dict[str, bytes]:
        """The files that belong to a table of predictions: the record for CLIP_benchmark, pictures, further tables."""
        task = question.task
        record = Record(
            dataset=task.title.removesuffix(f"/{task.language}"),
            model=aligner,
            pretrained=self.suite.partition("@")[0] + other,
            task=task.kind,
            metrics=judged.metrics(),
            language=task.language,
        )
        beside = {record.file_name: record.to_json().encode()}
        for name, picture in judged.pictures.items():
            beside[f"pictures/{file.removesuffix('.parquet')}_{plain_name(name)}"] = picture
        tables = (("confusion", judged.confusion), ("classes", judged.by_class), ("examples", judged.examples))
        return beside | {f"{kind}/{file}": packed(table) for kind, table in tables if table is not None}


def _run(subject: EvaluatedAligner) -> str:
    return str(subject.aligner.metadata.get("run", ""))


def _set_apart(question: tuple[str, ...], file: str, earlier: Sequence[Result]) -> str:
    """What the names of a question's files end in: nothing for the first of its suite, dataset and task, for which
    `file` is free; the digest of the question for others."""
    taken = {result.file: result.question for result in earlier}
    return "" if taken.get(file, question) == question else f"_{fingerprint({'question': list(question)})[:8]}"
