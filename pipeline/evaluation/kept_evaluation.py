"""Evaluations that are saved with all that they were made from: where nothing has changed, asking again runs nothing.

An evaluation of several aligners lies with the results of the first, `results/<aligner>/evaluations/<digest>.json`.
It counts while aligners, tasks, prompts and data are the same, the features and samples that were read are what they
were, and every file that it left is there as it was written. It is found from small files, without the library that
computes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from structure.pipeline.aligners.aligner_files import aligner_digest
from structure.pipeline.aligners.aligner_runs import aligner_record
from structure.pipeline.datasets.content_stamp import content_stamp
from structure.pipeline.evaluation.asked_tasks import AskedTasks
from structure.pipeline.evaluation.comparison import Difference, comparison_file
from structure.pipeline.evaluation.evaluation import Evaluation
from structure.pipeline.results import RUN, Result, read_results, require_predictions
from structure.pipeline.run_context import RunContext
from structure.pipeline.stated import digest, stated
from structure.pipeline.suites.prompt_set import load_prompt_set
from structure.store import Samples
from structure.store.errors import DamageError, StructureError
from structure.store.fingerprint import fingerprint
from structure.store.sealed_tables import listed_beside
from structure.store.seals import Seal, SealError, read_json

METHOD = 1
"""To be raised where a change of the code changes what an evaluation says."""


@dataclass(frozen=True)
class KeptEvaluation:
    """The place of one evaluation: of these aligners, by name, on these tasks; `compare` and `group` are those of the
    request."""

    context: RunContext
    aligners: tuple[str, ...]
    asked: AskedTasks
    compare: tuple[str, str] | None
    group: str | None

    def read(self) -> Evaluation | None:
        """The evaluation, if all that it was made from and all that it left is what it was; None otherwise."""
        folder = self.context.store.folder("results", self.aligners[0])
        try:
            body = read_json(folder, self._name, owner=self.made_from)
            if body["stored"] != self.stored(body["datasets"]) or not self._left(body["files"]):
                return None
            results = tuple(Result(**row) for row in body["results"])
            differences = tuple(Difference(**row) for row in body["differences"])
            if not self._are_saved(results):
                return None
        except (OSError, SealError, DamageError, KeyError, TypeError, AttributeError):
            return None
        return Evaluation(
            self.asked.suite,
            self.aligners,
            results,
            tuple(body["absent"]),
            failed=(),
            asked=len(self.asked.tasks),
            encoder_passes=0,
            seconds=0.0,
            differences=differences,
            by_class=tuple(body["by_class"]),
            notes=tuple(body["notes"]),
        )

    def write(self, done: Evaluation, before: Mapping[str, str]) -> None:
        """Save it, where the features that were there `before` it are still the same."""
        datasets = sorted({*self._trained_on, *(result.provenance["samples"]["dataset"] for result in done.results)})
        stored = self.stored(datasets)
        if any(before.get(key, mark) != mark for key, mark in stored.items()):
            return  # they were written while it read them
        body = {
            "stored": stored,
            "datasets": datasets,
            "files": self._files(done.results),
            "results": [result.body() for result in done.results],
            "absent": [dict(entry) for entry in done.absent],
            "differences": [difference.row() for difference in done.differences],
            "by_class": [dict(row) for row in done.by_class],
            "notes": list(done.notes),
        }
        folder = self.context.store.folder("results", self.aligners[0])
        folder.write(self._name, Seal.of(folder, self._name, self.made_from).json(body, indent=1, allow_nan=True))

    def stored(self, datasets: Sequence[str] | None = None) -> dict[str, str]:
        """Key -> digest of the values and the samples of every complete feature set of these datasets (None: of all):
        one that a stopped evaluation left half written is completed by the next, and nothing was made from it."""
        store = self.context.store
        return {
            features.key: fingerprint(
                {
                    "features": [features.fingerprint, features.content()],
                    "samples": Samples.checksum(store.files, features.manifest.dataset, features.manifest.split),
                }
            )
            for features in store.feature_sets()
            if (datasets is None or features.manifest.dataset in datasets) and features.is_complete
        }

    @cached_property
    def made_from(self) -> str:
        """Hex digest of what is asked, of the aligners and of the data on this machine. Raises as opening data does."""
        tasks, prompts = self.asked.tasks, {}
        if self.asked.prompts is None:
            names = {task.prompts for task in tasks if task.prompts}
            prompts = {name: stated(load_prompt_set(name), without=("about",)) for name in sorted(names)}
        parts = {(task.dataset, split) for task in tasks for split in (task.split, task.train)}
        data = {f"{dataset} {split}": self._stamp(dataset, split) for dataset, split in parts}
        return digest(
            {
                "method": METHOD,
                "question": self._question,
                "prompts": prompts,
                "data": data,
                "aligners": [aligner_digest(self.context.store, name) for name in self.aligners],
            }
        )

    @cached_property
    def _question(self) -> dict[str, Any]:
        return {
            **stated(self.asked),
            "aligners": list(self.aligners),
            "compare": list(self.compare or ()),
            "group": self.group,
            "data_root": str(self.context.data_root.absolute()),
        }

    @property
    def _name(self) -> str:
        return f"evaluations/{digest(self._question)[:16]}.json"

    @property
    def _trained_on(self) -> set[str]:
        """The datasets that the aligners were trained on: results say which samples were met there."""
        records = [aligner_record(self.context.store, name)["metadata"] for name in self.aligners]
        return {data["dataset"] for record in records if isinstance(data := record.get("data"), dict)}

    def _stamp(self, dataset: str, split: str | None) -> str:
        try:
            return content_stamp(dataset, split=split, data_root=self.context.data_root)
        except StructureError as error:  # of the store alone, or one that the evaluation lists as failed
            return str(error)

    def _files(self, results: Sequence[Result]) -> dict[str, str]:
        """Key in the store -> SHA-256 of the files that it left."""
        store = self.context.store
        found: dict[str, str] = {}
        for (name, file), result in {(one.aligner, one.file): one for one in results}.items():
            folder = store.folder("results", name)
            table, key = require_predictions(folder, result), folder.key(f"predictions/{file}")
            found |= {key: hashlib.sha256(store.files.read(key)).hexdigest()}
            found |= {folder.key(beside): mark for beside, mark in (listed_beside(table) or {}).items()}
        if self.compare:
            key = comparison_file(*self.compare)
            found[key] = hashlib.sha256(store.files.read(key)).hexdigest()
        return found

    def _left(self, files: Mapping[str, str]) -> bool:
        read = self.context.store.files.read
        return all(hashlib.sha256(read(key)).hexdigest() == mark for key, mark in files.items())

    def _are_saved(self, results: Sequence[Result]) -> bool:
        """Whether the results of each aligner still have these rows; those of other suites may stand beside."""
        for name in self.aligners:
            mine = [result for result in results if result.aligner == name]
            run = str(mine[0].provenance[RUN]) if mine else ""
            saved = {digest(one.body()) for one in read_results(self.context.store.folder("results", name), run=run)}
            if not saved.issuperset(digest(one.body()) for one in mine):
                return False
        return True
