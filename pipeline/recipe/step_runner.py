"""How each step of a recipe is run: one call of its stage, and what of the result is cached."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, cast

from structure.pipeline.aligners.aligner_files import aligner_digest, weights_digest
from structure.pipeline.aligners.aligner_method import method
from structure.pipeline.aligners.aligner_runs import run_of
from structure.pipeline.aligners.option_effects import use_of_unpaired
from structure.pipeline.aligners.options import TrainingOptions, applicable
from structure.pipeline.datasets.content_stamp import content_stamp
from structure.pipeline.datasets.loading import open_dataset
from structure.pipeline.encoders.loading import weights_stamp
from structure.pipeline.owned_files import remove_unlisted
from structure.pipeline.pairing.layer_cache import LayerCache
from structure.pipeline.pairing.layer_choice import pick_layers
from structure.pipeline.pairing.pairs import choose_sets
from structure.pipeline.pairing.require_two_sides import require_side
from structure.pipeline.progress import Progress
from structure.pipeline.recipe.identical import candidates, copy_aligner, identical_step
from structure.pipeline.recipe.own_suite import suite_named, suite_of
from structure.pipeline.recipe.recipe import Recipe
from structure.pipeline.recipe.report_files import SUMMARY, is_report_whole
from structure.pipeline.recipe.run_cache import StepResult
from structure.pipeline.recipe.saved_predictions import SavedPredictions
from structure.pipeline.recipe.step_layers import layers_of
from structure.pipeline.recipe.steps import Step, runs_of, steps_of
from structure.pipeline.recipe.summary import Summary
from structure.pipeline.recipe.variant_error import VariantError
from structure.pipeline.run_context import RunContext
from structure.pipeline.stage_requests.align import AUTO, published, selected
from structure.pipeline.stated import digest, stated
from structure.pipeline.strict_json import from_json, strict
from structure.pipeline.suites.prompt_set import load_prompt_set
from structure.pipeline.suites.suite import SuiteTask
from structure.store import FeatureSet, Samples
from structure.store.errors import MachineError, NotPresentError, StructureError
from structure.store.seals import LISTED, Seal, read_json

TOGETHER = 16
"""Aligners of one evaluation: their tasks' data are opened once for all, and results cached when all are done."""


class StepRunner:
    """Runs the steps of one recipe where the context says. Raises whatever the stages raise.

    `failed`: why each excluded variant of the recipe could not be trained."""

    def __init__(self, recipe: Recipe, context: RunContext) -> None:
        self.recipe, self.context, self.store = recipe, context, context.store
        self._listings: dict[tuple[str, str | None, int | None], str] = {}
        self._contents: dict[str, str] = {}
        self._layers = LayerCache()
        self.failed: list[VariantError] = []

    def sources(self, step: Step) -> dict[str, str]:
        """What the step reads besides the results of others, each as a digest; "" for what is not here."""
        if step.stage == "extract":
            options = step.options
            data = self._listing(options["dataset"], options.get("split"), options.get("limit"))
            return {"data": data, "weights": weights_stamp(options["model"])}
        if step.stage == "align" and self.recipe.stored:
            return self._stored_sources(step)
        if step.stage == "evaluate":
            return self._evaluated
        return {}

    def intact(self, step: Step, result: StepResult) -> bool:
        """Whether what the step left in the store is still there and is what it was."""
        written = result.result
        if step.stage == "extract":
            if written["features"] not in self.store:
                return False
            features = self.store[written["features"]]
            return features.is_complete and features.fingerprint == written["fingerprint"]
        if step.stage == "align":
            return bool(aligner_digest(self.store, written["aligner"]) == written["files"])
        if step.stage == "report":
            there = all(self.store.files.exists(key) for key in written["files"])
            return there and is_report_whole(self.store.folder("reports", self.recipe.name), written)
        return True

    def batch(self, step: Step) -> int:
        """How many steps of this kind are done in one go."""
        return TOGETHER if step.stage == "evaluate" else 1

    def work(self, steps: Sequence[Step], results: Mapping[str, StepResult]) -> list[StepResult]:
        """Run the steps, all of one stage, with the results of those before; one result each."""
        if steps[0].stage == "evaluate":
            self._layers = LayerCache()  # training is over: its layers are not held in memory beside encoders
            return self._evaluate(steps)
        (step,) = steps
        needed = {role: results[key] for role, key in step.needs.items()}
        if step.stage == "extract":
            return [self._extract(step.options)]
        if step.stage == "rank":
            return [self._rank(step, needed)]
        if step.stage == "align":
            return [self._align(step, needed, results)]
        return [self._report(results)]

    @cached_property
    def _evaluated(self) -> dict[str, str]:
        """The sources of every evaluation: they are the same for all aligners of the recipe."""
        tasks = self._tasks
        sources = {"suite": digest(stated(tasks))}
        for task in tasks:
            sources[f"data.{task.title}.{task.split}"] = self._listing(task.dataset, task.split, None)
            prompts = self._prompts or task.prompts
            if prompts and f"prompts.{prompts}" not in sources:
                sources[f"prompts.{prompts}"] = digest(stated(load_prompt_set(prompts), without=("about",)))
        return sources

    @cached_property
    def _tasks(self) -> tuple[SuiteTask, ...]:
        """What the recipe evaluates."""
        if self.recipe.evaluate is None:
            return ()
        return suite_of(self.recipe).select(self.recipe.evaluate.get("datasets", ()))

    @property
    def _prompts(self) -> str | None:
        return (self.recipe.evaluate or {}).get("prompts")

    def require_names(self) -> None:
        """Raises StructureError for a suite, a dataset of it or prompts that are not there: before the first step, not
        when their step comes."""
        _ = self._tasks
        if self._prompts:
            load_prompt_set(self._prompts)

    def metrics(self) -> list[str]:
        """The metric that each of the recipe's tasks names."""
        return [task.metric for task in self._tasks]

    def absent(self) -> list[dict[str, str]]:
        """The evaluation's datasets that are neither on this machine nor in the store, and how to get each."""
        absent: dict[str, str] = {}
        for task in self._tasks:
            if self._listing(task.dataset, task.split, None):
                continue
            if ":" not in task.dataset and self.store.files.exists(Samples.file(task.dataset, task.split or "test")):
                continue
            try:
                open_dataset(task.dataset, split=task.split, data_root=self.context.data_root)
            except NotPresentError as error:
                absent.setdefault(task.dataset, str(error))
        return [{"what": dataset, "how_to_get": why} for dataset, why in absent.items()]

    def summary(self) -> Summary:
        """What the report step found, from the store."""
        folder = self.store.folder("reports", self.recipe.name)
        return Summary.from_json(read_json(folder, SUMMARY, loads=from_json))

    def _extract(self, options: Mapping[str, Any]) -> StepResult:
        from structure.pipeline.stages.extract import extract

        given = dict(options)
        done = extract(
            given.pop("model"),
            given.pop("dataset"),
            store=self.store,
            data_root=self.context.data_root,
            device=self.context.device,
            trust_remote_code=self.context.trust_remote_code,
            confirm=self.context.confirm,
            on_event=self.context.on_event,
            **given,
        )[0]
        manifest = done.plan.manifest
        for side in ("vision", "text"):
            if any(getattr(pair, side) == options["model"] for pair in self.recipe.encoders):
                require_side(side, options["model"], manifest.modality)
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
        from structure.pipeline.stages.rank_layers import rank_layers

        ranked = rank_layers(
            store=self.store,
            device=self.context.device,
            on_event=self.context.on_event,
            **step.options,
            **_sets(needed),
        )
        ranking = {name: value for name, value in ranked.ranking.items() if name not in ("seconds", "forecast")}
        return StepResult(ranking, digest(ranking))

    def _align(self, step: Step, needed: Mapping[str, StepResult], results: Mapping[str, StepResult]) -> StepResult:
        names = [run.aligner for run in self._runs]
        run = self._runs[names.index(step.options["aligner"])]
        self.context.on_event(Progress("runs", names.index(run.aligner) + 1, len(names), "runs"))
        try:
            return self._identical(step, needed, results) or self._train(step, needed)
        except MachineError:
            raise
        except StructureError as error:
            raise VariantError(run.variant, run.seed, str(error)) from error

    def _train(self, step: Step, needed: Mapping[str, StepResult]) -> StepResult:
        from structure.pipeline.stages.align import align

        stored, options = dict(step.options.get("stored", {})), self._options(step, needed)
        how: dict[str, Any] = {"options": options}
        if step.selects:
            rate = {"learning_rate": needed["rate"].result["rate"]} if "rate" in needed else {}
            how = {**step.options["training"], **rate, "device": self.context.device}
        if use_of_unpaired(options) == "unused":
            stored.pop("unpaired", None)
        context = self.context.without_notes()  # dozens of runs would say the same of their layers and pairs
        done = align(
            layers_of(step, needed),
            store=self.store,
            **how,
            pairs=step.options["pairs"],
            name=step.options["aligner"],
            replace=True,
            cache=self._layers,
            data_root=context.data_root,
            trust_remote_code=context.trust_remote_code,
            on_event=context.on_event,
            **(stored if self.recipe.stored else _sets(needed)),
        )
        result = {
            "aligner": done.name,
            "layers": done.layers,
            "pairs": done.trained.pairs,
            "validation_pairs": done.trained.validation_pairs,
            "test_pairs": done.test_pairs,
            "epochs": done.trained.epochs,
            "best_epoch": done.trained.best_epoch,
            "rate": done.trained.rate,
            "metrics": dict(done.trained.metrics),
            "test_metrics": dict(done.test),
            "files": aligner_digest(self.store, done.name),
            "weights": weights_digest(self.store, done.name),
        }
        return StepResult(result, digest(result))

    def _identical(
        self, step: Step, needed: Mapping[str, StepResult], results: Mapping[str, StepResult]
    ) -> StepResult | None:
        """The result of a run that was made already under the name of another variant; None where there is none."""
        others = candidates(step, self._steps, results)
        if not others or step.selects:
            return None
        _, vision, text, chosen_by = self._chosen(step, needed)
        other = identical_step(step, others, results, {"vision": vision, "text": text})
        if other is None:
            return None
        name, source = step.options["aligner"], other.options["aligner"]
        self.context.note(f"{name} is identical to {source} (layers {vision} and {text}): it is trained once")
        copy_aligner(self.store, source, name, chosen_by)
        result = {
            **results[other.key].result,
            "aligner": name,
            "identical_to": source,
            "files": aligner_digest(self.store, name),
        }
        return StepResult(result, digest(result))

    def _chosen(
        self, step: Step, needed: Mapping[str, StepResult]
    ) -> tuple[tuple[FeatureSet, FeatureSet], str, str, str]:
        """(feature sets, vision layer, text layer, how they are chosen) of a training step."""
        options = self._options(step, needed)
        kind = method(options.method).reads(options)
        meant = self.recipe.stored.sets if self.recipe.stored else _sets(needed)
        sets = choose_sets(self.store, **meant, several=kind == "sets")
        return sets, *pick_layers(self.store, *sets, layers_of(step, needed), tokens=kind == "tokens")

    def _stored_sources(self, step: Step) -> dict[str, str]:
        """The features that a training step reads, and the layers that are chosen now; nothing where there are none."""
        try:
            sets, vision, text, _ = self._chosen(step, {})
        except StructureError:
            return {}  # the training says why
        for features in sets:
            if features.key not in self._contents:
                self._contents[features.key] = digest([features.fingerprint, features.content()])
        return {"layers": f"{vision},{text}", **{features.key: self._contents[features.key] for features in sets}}

    def _options(self, step: Step, needed: Mapping[str, StepResult]) -> TrainingOptions:
        training = published(step.options["training"])
        if training.get("method") == AUTO:
            return cast(TrainingOptions, selected(training)["options"])
        if "rate" in needed:
            training["learning_rate"] = needed["rate"].result["rate"]
        return TrainingOptions.preset(step.options["preset"], device=self.context.device, **applicable(training))

    def _evaluate(self, steps: Sequence[Step]) -> list[StepResult]:
        from structure.pipeline.stages.evaluate import evaluate

        names = [step.options["aligner"] for step in steps]
        done = evaluate(
            suite_named(self.recipe, self.store),
            store=self.store,
            aligners=names,
            datasets=(self.recipe.evaluate or {}).get("datasets", ()),
            prompts=self._prompts,
            data_root=self.context.data_root,
            device=self.context.device,
            trust_remote_code=self.context.trust_remote_code,
            confirm=self.context.confirm,
            on_event=self.context.on_event,
        )
        results = []
        for name in names:
            rows = [{**one.row(), "provenance": one.provenance} for one in done.results if one.aligner == name]
            result = {"results": rows, "absent": [dict(entry) for entry in done.absent]}
            results.append(StepResult(result, digest(result)))
        return results

    def _report(self, results: Mapping[str, StepResult]) -> StepResult:
        from structure.pipeline.recipe.summarise import summarise, write_correlations
        from structure.pipeline.stages.report import report

        summary = summarise(self.recipe, results, SavedPredictions(self.store))
        folder = self.store.folder("reports", self.recipe.name)
        document = {
            "recipe": self.recipe.name,
            "about": self.recipe.about,
            "seeds": list(self.recipe.seeds),
            **summary.to_json(),
            "failed": [error.row() for error in self.failed],
            "metrics": [] if self.recipe.stored else list(dict.fromkeys(self.metrics())),
            "seconds": summary.seconds,
            "runs": {name: run_of(self.store, name) for names in summary.aligners.values() for name in names},
        }
        charts = write_correlations(summary.correlations, folder)
        remove_unlisted(folder, SUMMARY, charts)
        listed = {**strict(document), LISTED: charts}
        summary_json = Seal.of(folder, SUMMARY).json(listed, indent=1)
        folder.write(SUMMARY, summary_json)
        page = ""
        if not self.recipe.stored:
            page = report(store=self.store, summary=document, folder=folder, on_event=self.context.on_event)
        result = {
            "report": page,
            "files": self.store.files.keys(f"reports/{self.recipe.name}"),
            "summary": hashlib.sha256(summary_json).hexdigest(),
        }
        return StepResult(result, digest(result))

    def _listing(self, spec: str, split: str | None, limit: int | None) -> str:
        key = (spec, split, limit)
        if key not in self._listings:
            self._listings[key] = content_stamp(spec, split=split, data_root=self.context.data_root, limit=limit)
        return self._listings[key]

    @cached_property
    def _steps(self) -> tuple[Step, ...]:
        return steps_of(self.recipe)

    @cached_property
    def _runs(self) -> tuple[Any, ...]:
        return runs_of(self.recipe)


def _sets(needed: Mapping[str, StepResult]) -> dict[str, Any]:
    """Which features a stage takes, from the results of the two extractions."""
    vision, text = needed["vision"].result, needed["text"].result
    if (vision["dataset"], vision["split"]) != (text["dataset"], text["split"]):
        raise StructureError(f"{vision['features']} and {text['features']} are features of different data.")
    return {
        "dataset": vision["dataset"],
        "split": vision["split"],
        "vision": vision["encoder"],
        "text": text["encoder"],
    }
