"""How each step of a recipe is done: one call of its stage, and what of the outcome the ledger keeps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from structure.pipeline.aligners.options import TrainingOptions, applicable
from structure.pipeline.datasets.content_stamp import content_stamp
from structure.pipeline.datasets.loading import open_dataset
from structure.pipeline.documents import to_json
from structure.pipeline.encoders.loading import weights_stamp
from structure.pipeline.extraction.estimate import Consent
from structure.pipeline.progress import Event, Listener, Note
from structure.pipeline.recipe.run_cache import FOLDER, StepResult, digest, stated
from structure.pipeline.recipe.schema import Recipe
from structure.pipeline.recipe.spaced_pairs import layer_pair, spaced_pairs
from structure.pipeline.recipe.steps import Step
from structure.pipeline.recipe.summary import summarise
from structure.pipeline.stages.align import align
from structure.pipeline.stages.evaluate import evaluate
from structure.pipeline.stages.extract import extract
from structure.pipeline.stages.rank_layers import rank_layers
from structure.pipeline.stages.report import report
from structure.pipeline.suites.prompt_set import load_prompt_set
from structure.pipeline.suites.suite import SuiteTask, load_suite
from structure.store import Samples, Store
from structure.store.errors import NotPresentError, StructureError

ALIGNER_FILES = ("aligner.safetensors", "aligner.json")
SUITE = "suite.yaml"
TOGETHER = 16
"""Aligners that one evaluation takes: their tasks' data are opened once for all of them, and kept when all are done."""


class StepRunner:
    """Does the steps of one recipe in one store. Raises whatever the stages raise."""

    def __init__(
        self,
        recipe: Recipe,
        store: Store,
        *,
        data_root: str | Path,
        device: str,
        trust_remote_code: bool = False,
        consent: Consent | None = None,
        on_event: Listener,
    ) -> None:
        self.recipe, self.store, self.consent = recipe, store, consent
        self.data_root, self.device, self.on_event = data_root, device, on_event
        self.trust_remote_code = trust_remote_code
        self._listings: dict[tuple[str, str | None, int | None], str] = {}

    def sources(self, step: Step) -> dict[str, str]:
        """What the step reads besides the outcomes of others, each as a digest; "" for what is not here."""
        if step.stage == "extract":
            options = step.options
            data = self._listing(options["dataset"], options.get("split"), options.get("limit"))
            return {"data": data, "weights": weights_stamp(options["model"])}
        if step.stage == "evaluate":
            return self._evaluated
        return {}

    def intact(self, step: Step, outcome: StepResult) -> bool:
        """Whether what the step left in the store is still there and is what it was."""
        result = outcome.result
        if step.stage == "extract":
            if result["features"] not in self.store:
                return False
            features = self.store[result["features"]]
            return features.is_complete and features.fingerprint == result["fingerprint"]
        if step.stage == "align":
            return bool(self._aligner_digest(result["aligner"]) == result["files"])
        if step.stage == "report":
            return all(self.store.files.exists(key) for key in result["files"])
        return True

    def batch(self, step: Step) -> int:
        """How many steps of this kind are done in one go."""
        return TOGETHER if step.stage == "evaluate" else 1

    def work(self, steps: Sequence[Step], outcomes: Mapping[str, StepResult]) -> list[StepResult]:
        """Do the steps, all of one stage, with the outcomes of those before; one outcome each."""
        if steps[0].stage == "evaluate":
            return self._evaluate(steps)
        (step,) = steps
        needed = {role: outcomes[key] for role, key in step.needs.items()}
        if step.stage == "extract":
            return [self._extract(step.options)]
        if step.stage == "rank":
            return [self._rank(step, needed)]
        if step.stage == "align":
            return [self._align(step, needed)]
        return [self._report(outcomes)]

    @cached_property
    def _evaluated(self) -> dict[str, str]:
        """The sources of every evaluation: they are the same for all aligners of the recipe."""
        tasks = self._tasks
        found = {"suite": digest(stated(tasks))}
        for task in tasks:
            found[f"data.{task.title}.{task.split}"] = self._listing(task.dataset, task.split, None)
            prompts = self.recipe.evaluate.get("prompts") or task.prompts
            if prompts and f"prompts.{prompts}" not in found:
                found[f"prompts.{prompts}"] = digest(stated(load_prompt_set(prompts), without=("about",)))
        return found

    @cached_property
    def _tasks(self) -> tuple[SuiteTask, ...]:
        """What the recipe evaluates."""
        return load_suite(self._suite()).select(self._datasets())

    def metrics(self) -> list[str]:
        """The metric that each of the recipe's tasks names."""
        return [task.metric for task in self._tasks]

    def absent(self) -> list[dict[str, str]]:
        """The evaluation's datasets that are neither on this machine nor kept in the store, and how to get each."""
        found: dict[str, str] = {}
        for task in self._tasks:
            if self._listing(task.dataset, task.split, None):
                continue
            if ":" not in task.dataset and self.store.files.exists(Samples.file(task.dataset, task.split or "test")):
                continue
            try:
                open_dataset(task.dataset, split=task.split, data_root=self.data_root)
            except NotPresentError as error:
                found.setdefault(task.dataset, str(error))
        return [{"what": dataset, "how_to_get": why} for dataset, why in found.items()]

    def _extract(self, options: Mapping[str, Any]) -> StepResult:
        given = dict(options)
        done = extract(
            given.pop("model"),
            given.pop("dataset"),
            store=self.store,
            data_root=self.data_root,
            device=self.device,
            trust_remote_code=self.trust_remote_code,
            consent=self.consent,
            on_event=self.on_event,
            **given,
        )[0]
        manifest = done.plan.manifest
        result = {
            "features": manifest.key,
            "dataset": manifest.dataset,
            "split": manifest.split,
            "encoder": manifest.encoder,
            "rows": manifest.rows,
            "layers": [column.name for column in manifest.columns],
            # What the store holds now: a layer that did not fit float16 was widened on the way.
            "fingerprint": self.store[manifest.key].fingerprint,
        }
        return StepResult(result, digest(result))

    def _rank(self, step: Step, needed: Mapping[str, StepResult]) -> StepResult:
        found = rank_layers(
            store=self.store, device=self.device, on_event=self.on_event, **step.options, **_sets(needed)
        )
        ranking = {name: value for name, value in found.ranking.items() if name != "seconds"}
        return StepResult(ranking, digest(ranking))

    def _align(self, step: Step, needed: Mapping[str, StepResult]) -> StepResult:
        options = step.options
        layers = options["layers"]
        if layers == "ranked":
            ranking = needed["ranking"].result
            layers = ",".join(
                layer_pair(ranking) if "of" not in options else spaced_pairs(ranking, options["of"])[options["place"]]
            )
        training = dict(options["training"])
        if "rate" in needed:
            training["learning_rate"] = needed["rate"].result["rate"]
        done = align(
            layers,
            store=self.store,
            options=TrainingOptions.preset(options["preset"], device=self.device, **applicable(training)),
            pairs=options["pairs"],
            name=options["aligner"],
            on_event=self._without_notes,
            **_sets(needed),
        )
        result = {
            "aligner": done.name,
            "layers": done.layers,
            "pairs": done.trained.pairs,
            "epochs": done.trained.epochs,
            "best_epoch": done.trained.best_epoch,
            "rate": done.trained.rate,
            "metrics": dict(done.trained.metrics),
            "files": self._aligner_digest(done.name),
        }
        return StepResult(result, digest(result))

    def _evaluate(self, steps: Sequence[Step]) -> list[StepResult]:
        names = [step.options["aligner"] for step in steps]
        done = evaluate(
            self._suite(),
            store=self.store,
            aligners=names,
            datasets=self._datasets(),
            prompts=self.recipe.evaluate.get("prompts"),
            data_root=self.data_root,
            device=self.device,
            trust_remote_code=self.trust_remote_code,
            consent=self.consent,
            on_event=self.on_event,
        )
        outcomes = []
        for name in names:
            rows = [{**found.row(), "provenance": found.provenance} for found in done.results if found.aligner == name]
            result = {"results": rows, "absent": [dict(entry) for entry in done.absent]}
            outcomes.append(StepResult(result, digest(result)))
        return outcomes

    def _report(self, outcomes: Mapping[str, StepResult]) -> StepResult:
        summary = summarise(self.recipe, outcomes)
        folder = self.store.folder("reports", self.recipe.name)
        document = {
            "recipe": self.recipe.name,
            "about": self.recipe.about,
            **summary.to_json(),
            "metrics": list(dict.fromkeys(self.metrics())),
            "seconds": summary.seconds,
        }
        folder.write("summary.json", to_json(document))
        summary.write(folder)
        page = report(store=self.store, summary=document, folder=folder, on_event=self.on_event)
        result = {"report": page, "files": self.store.files.keys(f"reports/{self.recipe.name}")}
        return StepResult(result, digest(result))

    def _suite(self) -> str:
        """The suite's name, or the file that a suite written in the recipe is kept in."""
        suite = self.recipe.evaluate["suite"]
        if isinstance(suite, str):
            return suite
        defaults = {"dataset": self.recipe.extract["dataset"], **suite.get("defaults", {})}
        whole = {"name": self.recipe.name, "version": 1, **suite, "defaults": defaults}
        folder, text = self.store.folder(FOLDER, self.recipe.name), json.dumps(whole, indent=1).encode()  # JSON is YAML
        if not folder.exists(SUITE) or folder.read(SUITE) != text:
            folder.write(SUITE, text)
        return f"{folder}/{SUITE}"

    def _datasets(self) -> Sequence[str]:
        datasets: Sequence[str] = self.recipe.evaluate.get("datasets", ())
        return datasets

    def _listing(self, spec: str, split: str | None, limit: int | None) -> str:
        place = (spec, split, limit)
        if place not in self._listings:
            self._listings[place] = content_stamp(spec, split=split, data_root=self.data_root, limit=limit)
        return self._listings[place]

    def _aligner_digest(self, name: str) -> str:
        """Over the aligner's files; "" where one is missing."""
        whole = hashlib.sha256()
        for file in ALIGNER_FILES:
            try:
                data = self.store.folder("aligners", name).read(file)
            except FileNotFoundError:
                return ""
            whole.update(hashlib.sha256(data).digest())
        return whole.hexdigest()

    def _without_notes(self, event: Event) -> None:
        """Dozens of runs would say the same of their layers and pairs."""
        if not isinstance(event, Note):
            self.on_event(event)


def _sets(needed: Mapping[str, StepResult]) -> dict[str, Any]:
    """Which features a stage takes, from the outcomes of the two extractions."""
    vision, text = needed["vision"].result, needed["text"].result
    if (vision["dataset"], vision["split"]) != (text["dataset"], text["split"]):
        raise StructureError(f"{vision['features']} and {text['features']} are features of different data.")
    return {
        "dataset": vision["dataset"],
        "split": vision["split"],
        "vision": vision["encoder"],
        "text": text["encoder"],
    }
