"""Aligners on tasks: every number, what could not be evaluated, and what encoders had to read."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from structure.pipeline.evaluation.asked_tasks import AskedTasks
from structure.pipeline.evaluation.evaluated_aligner import EvaluatedAligner
from structure.pipeline.evaluation.evaluation import EvaluationPlan
from structure.pipeline.evaluation.save_results import ResultsToSave, drop_damaged, trained_on
from structure.pipeline.evaluation.side_by_side import judge_each
from structure.pipeline.evaluation.task import TaskRows, TaskSource
from structure.pipeline.evaluation.task_kinds import JUDGES
from structure.pipeline.extraction.stored_or_extracted import KEPT_BYTES, FeatureSource
from structure.pipeline.progress import Progress
from structure.pipeline.results import Result
from structure.pipeline.run_context import RunContext
from structure.pipeline.suites.suite import SuiteTask
from structure.pipeline.work_estimate import WorkEstimate, require_space
from structure.store.errors import MachineError, NotPresentError, StructureError


@dataclass(frozen=True)
class JudgedTasks:
    """The fields are those of `Evaluation`; `notes` is what was said of the tasks."""

    results: tuple[Result, ...]
    absent: tuple[Mapping[str, str], ...]
    failed: tuple[Mapping[str, str], ...]
    by_class: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...]
    encoder_passes: int


def judge_tasks(context: RunContext, aligners: Sequence[str], asked: AskedTasks) -> JudgedTasks:
    """Every aligner on every task whose data are here, saved below `results/<aligner>/`; features that are not in the
    store are extracted and saved there. A dataset that is damaged is listed in `failed`, and the others go on."""
    require_kinds(asked.tasks)
    subjects, source = _candidates(context, aligners)
    saves = context.may_save("what the evaluation finds")
    for subject in subjects:
        if saves and drop_damaged(context.store, subject.name):
            context.note(f"the results of {subject.name} are damaged: they are removed, those of other suites too")
    questions = TaskSource(context, prompts=asked.prompts, save=saves)
    absent: list[dict[str, str]] = []
    failed: list[dict[str, str]] = []
    results: list[Result] = []
    by_class: list[Mapping[str, Any]] = []
    notes: dict[str, None] = {}
    with ResultsToSave(context.store, suite=asked.suite, asked=asked.options) as waiting:
        for number, task in enumerate(asked.tasks, start=1):
            read = source.passes
            try:
                question = questions.ask(task)
            except NotPresentError as error:
                absent.append({"dataset": task.title, "why": f"{task.dataset} is not here", "how_to_get": str(error)})
            except MachineError:
                raise
            except StructureError as error:
                failed.append({"dataset": task.title, "why": str(error)})
                context.note(f"{task.title} cannot be evaluated: {error}")
            else:
                found = judge_each(JUDGES[task.kind], question, subjects, source, seed=asked.seed)
                with contextlib.closing(found):
                    for subject, judged in zip(subjects, found, strict=True):
                        if isinstance(judged, NotPresentError):
                            why = f"features of {task.dataset} for {subject.name} are not here"
                            absent.append({"dataset": task.title, "why": why, "how_to_get": str(judged)})
                            continue
                        results += waiting.add(question, subject, judged)
                        rows = [] if judged.by_class is None else judged.by_class.to_pylist()
                        by_class += [{"aligner": subject.name, "dataset": task.title, **row} for row in rows]
                        said = _trained_on(trained_on(context.store, question, subject), question, subject)
                        if said and said not in notes:
                            notes[said] = None
                            context.note(said)
            if source.passes > read or waiting.is_due:
                waiting.save()  # what took an encoder's time is not left waiting
            context.on_event(Progress("evaluating", number, len(asked.tasks), "tasks"))
    return JudgedTasks(
        tuple(results), tuple(absent), tuple(failed), tuple(by_class), tuple(notes), encoder_passes=source.passes
    )


def plan_tasks(context: RunContext, aligners: Sequence[str], asked: AskedTasks) -> EvaluationPlan:
    """What encoders still have to read, each feature set once, and what is not here; writes nothing. Raises as
    `judge_tasks` does, and StructureError where the disk cannot hold it."""
    require_kinds(asked.tasks)
    subjects, source = _candidates(context, aligners)
    tasks = TaskSource(context, prompts=asked.prompts, save=False)
    parts: dict[str, WorkEstimate] = {}
    absent: list[Mapping[str, str]] = []
    for task in asked.tasks:
        try:
            rows_of = tasks.ask(task)
            for subject, side in itertools.product(subjects, _sides(task)):
                part = _estimate(rows_of, subject, side, source)
                parts.setdefault(part.what, part)
        except NotPresentError as error:
            absent.append({"dataset": task.title, "how_to_get": str(error)})
    require_space(context.store, list(parts.values()))
    return EvaluationPlan(tuple(parts.values()), tuple(absent))


def require_kinds(tasks: Sequence[SuiteTask]) -> None:
    """Raises StructureError for a kind of task that is not evaluated here."""
    for task in tasks:
        if task.kind not in JUDGES:
            raise StructureError(f"{task.title} asks for {task.kind}; this version evaluates {', '.join(JUDGES)}.")


def _candidates(context: RunContext, names: Sequence[str]) -> tuple[list[EvaluatedAligner], FeatureSource]:
    """The aligners, their heads on the device, and what finds or makes their features."""
    subjects = [EvaluatedAligner.load(context.store, name, device=context.resolved_device) for name in names]
    return subjects, FeatureSource(context, keep=KEPT_BYTES if len(subjects) > 1 else 0)


def _sides(task: SuiteTask) -> tuple[str, ...]:
    return ("vision",) if task.kind == "linear_probe" else ("vision", "text")


def _estimate(rows_of: TaskRows, subject: EvaluatedAligner, side: str, source: FeatureSource) -> WorkEstimate:
    """What one encoder has to read for one task."""
    record = subject.vision if side == "vision" else subject.text
    prompted = rows_of.prompts is not None and side == "text"
    rows, captions = (rows_of.prompt_rows, 1) if prompted else (rows_of.rows, None)
    return source.ahead(record, rows, captions=captions, tokens=subject.tokens(side))


def _trained_on(met: int | None, question: TaskRows, subject: EvaluatedAligner) -> str:
    """A sentence where samples of the task were seen in the training."""
    if not met:
        return ""
    data = "/".join(subject.aligner.metadata["data"].values())
    return (
        f"{question.task.title}: {met:,} of {len(question.samples.item_ids):,} samples are in {data}, on which the "
        "aligner was trained, so that its numbers are too good. Extract and train on another split: --split train."
    )
