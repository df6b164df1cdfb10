"""Stage 4: zero-shot evaluation of aligners from cached features; an encoder runs only for rows not in the store."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from structure.pipeline.datasets.loading import open_dataset
from structure.pipeline.datasets.split_names import pick_split
from structure.pipeline.evaluation.comparison import Difference, compare_kept
from structure.pipeline.evaluation.evaluated_aligner import EvaluatedAligner, aligner_names
from structure.pipeline.evaluation.save_results import drop_damaged, keep, trained_on
from structure.pipeline.evaluation.task import TaskRows, TaskSource
from structure.pipeline.evaluation.task_kinds import JUDGES
from structure.pipeline.extraction.stored_or_extracted import KEPT_BYTES, FeatureSource
from structure.pipeline.keyword_form import keyword_form
from structure.pipeline.progress import Listener, Note, Progress
from structure.pipeline.results import COUNTED, Result
from structure.pipeline.run_context import RunContext
from structure.pipeline.stage_requests.checks import require_two
from structure.pipeline.stage_requests.evaluate import EvaluateRequest
from structure.pipeline.suites.own_labels import OwnLabels
from structure.pipeline.suites.published import published_comparison
from structure.pipeline.suites.suite import SuiteTask
from structure.pipeline.work_estimate import WorkEstimate, require_space
from structure.store import Store, open_store
from structure.store.errors import NotPresentError, StructureError


@dataclass(frozen=True)
class EvaluationPlan:
    """What encoders still have to read, and the data that are not on this machine with how to get them."""

    parts: tuple[WorkEstimate, ...]
    absent: tuple[Mapping[str, str], ...]


@dataclass(frozen=True)
class Evaluation:
    """Every number, what could not be evaluated and how to get it, and how often an encoder had to run.

    `absent` lists what is not on this machine, `failed` what is here and cannot be used (a damaged tar, a template
    without `{c}`); `differences` are those of two aligners that were compared, `by_class` the rows of each class where
    samples have several.
    """

    suite: str
    aligners: tuple[str, ...]
    results: tuple[Result, ...]
    absent: tuple[Mapping[str, str], ...]
    failed: tuple[Mapping[str, str], ...]
    asked: int
    encoder_passes: int
    seconds: float
    differences: tuple[Difference, ...] = ()
    by_class: tuple[Mapping[str, Any], ...] = ()

    @property
    def evaluated(self) -> int:
        """Tasks with a result."""
        return len({(result.dataset, result.task) for result in self.results})

    def to_json(self) -> dict[str, Any]:
        """The document of `structure eval --json`."""
        return {
            "suite": self.suite,
            "aligners": list(self.aligners),
            "results": [
                {
                    **result.shown(),
                    "notes": {name: result.provenance[name] for name in COUNTED if name in result.provenance},
                }
                for result in self.results
            ],
            "absent": [dict(entry) for entry in self.absent],
            "failed": [dict(entry) for entry in self.failed],
            "published": [entry.row() for entry in published_comparison(self.results)],
            "differences": [difference.row() for difference in self.differences],
            "by_class": [dict(row) for row in self.by_class],
            "evaluated": self.evaluated,
            "asked": self.asked,
            "encoder_passes": self.encoder_passes,
            "seconds": self.seconds,
        }


def plan(request: EvaluateRequest, context: RunContext) -> EvaluationPlan:
    """What encoders still have to read for a suite, each feature set once, and what is not here; writes nothing.

    Raises as `run` does, but for data that are not here.
    """
    request = _with_split(request, context)
    candidates, source = _candidates(request, context)
    tasks = TaskSource(context, prompts=request.prompt_set, save=False)
    parts: dict[str, WorkEstimate] = {}
    absent: list[Mapping[str, str]] = []
    for task in _tasks(request):
        try:
            rows_of = tasks.ask(task)
            for candidate, side in itertools.product(candidates, _sides(task)):
                part = _estimate(rows_of, candidate, side, source)
                parts.setdefault(part.what, part)
        except NotPresentError as error:
            absent.append({"dataset": task.title, "how_to_get": str(error)})
    require_space(context.store, list(parts.values()))
    return EvaluationPlan(tuple(parts.values()), tuple(absent))


def _sides(task: SuiteTask) -> tuple[str, ...]:
    return ("vision",) if task.kind == "linear_probe" else ("vision", "text")


def _estimate(rows_of: TaskRows, candidate: EvaluatedAligner, side: str, source: FeatureSource) -> WorkEstimate:
    """What one encoder has to read for one task."""
    record = candidate.vision if side == "vision" else candidate.text
    prompted = rows_of.prompts is not None and side == "text"
    rows, captions = (rows_of.prompt_rows(), 1) if prompted else (rows_of.rows, None)
    return source.ahead(record, rows, captions=captions, tokens=candidate.tokens(side))


def _tasks(request: EvaluateRequest) -> Sequence[SuiteTask]:
    """The tasks that are asked for. Raises StructureError for a kind that is not evaluated here."""
    tasks = request.opened_suite.select(request.datasets)
    for task in tasks:
        if task.kind not in JUDGES:
            raise StructureError(f"{task.title} asks for {task.kind}; this version evaluates {', '.join(JUDGES)}.")
    return tasks


def _with_split(request: EvaluateRequest, context: RunContext) -> EvaluateRequest:
    """The request with the test part of a dataset whose own labels are asked, where it has one and no split is named:
    its default part is what aligners are trained on."""
    own = request.suite
    if not isinstance(own, OwnLabels) or own.split is not None:
        return request
    try:
        splits = open_dataset(own.dataset, split=None, data_root=context.data_root).splits
    except StructureError:  # told where the task is opened; the store may hold the data
        return request
    test = pick_split("test", splits) if splits else None
    return request if test is None else replace(request, suite=replace(own, split=test))


def _candidates(request: EvaluateRequest, context: RunContext) -> tuple[list[EvaluatedAligner], FeatureSource]:
    """The aligners, their heads on the device, and what finds or makes their features."""
    names = aligner_names(context.store, request.names)
    candidates = [EvaluatedAligner.load(context.store, name, device=context.resolved_device) for name in names]
    return candidates, FeatureSource(context, keep=KEPT_BYTES if len(candidates) > 1 else 0)


def run(request: EvaluateRequest, context: RunContext) -> Evaluation:
    """Evaluate the aligners on every task of the suite whose data are here.

    Features of images, captions and prompts are taken from the store, or extracted and saved there. A dataset that is
    damaged is listed in `failed`, and the others go on. Raises StructureError where nothing at all could be evaluated.
    """
    began = time.perf_counter()
    target, on_event, seed, compare = context.store, context.on_event, request.seed, request.compare
    request = _with_split(request, context)
    chosen, tasks = request.opened_suite, _tasks(request)
    subjects, source = _candidates(request, context)
    saves = context.may_save("what the evaluation finds")
    for subject in subjects:
        if saves and drop_damaged(target, subject.name):
            on_event(Note(f"the results of {subject.name} are damaged: they are removed, those of other suites too"))
    questions = TaskSource(context, prompts=request.prompt_set, save=saves)
    absent: list[dict[str, str]] = []
    failed: list[dict[str, str]] = []
    results: list[Result] = []
    by_class: list[Mapping[str, Any]] = []
    told: set[str] = set()
    for number, task in enumerate(tasks, start=1):
        try:
            question = questions.ask(task)
        except NotPresentError as error:
            absent.append({"dataset": task.title, "why": f"{task.dataset} is not here", "how_to_get": str(error)})
        except StructureError as error:
            failed.append({"dataset": task.title, "why": str(error)})
            on_event(Note(f"{task.title} cannot be evaluated: {error}"))
        else:
            for subject in subjects:
                try:
                    judged = JUDGES[task.kind](question, subject, source, seed=seed)
                except NotPresentError as error:
                    why = f"features of {task.dataset} for {subject.name} are not here"
                    absent.append({"dataset": task.title, "why": why, "how_to_get": str(error)})
                else:
                    results += keep(target, chosen.label, question, subject, judged, asked=request.asked)
                    rows = [] if judged.by_class is None else judged.by_class.to_pylist()
                    by_class += [{"aligner": subject.name, "dataset": task.title, **row} for row in rows]
                    told |= _warn(trained_on(target, question, subject), question, subject, told, on_event)
        on_event(Progress("evaluating", number, len(tasks), "tasks"))
    if not results or (request.require_all and (absent or failed)):
        raise _refusal(chosen.name, len(tasks), absent, failed, context.data_root, anything=bool(results))
    # what is compared are saved predictions
    differences = (
        compare_kept(target, *compare, only=results if saves else (), group=request.group, seed=seed) if compare else []
    )
    return Evaluation(
        chosen.label,
        tuple(subject.name for subject in subjects),
        tuple(results),
        tuple(absent),
        tuple(failed),
        len(tasks),
        source.passes,
        time.perf_counter() - began,
        tuple(differences),
        tuple(by_class),
    )


def compare_aligners(
    first: str, second: str, *, store: Store | str | Path, group: str | None = None, seed: int = 0
) -> list[Difference]:
    """Differences of two aligners on every task that both were evaluated on before, sample by sample; samples with one
    value in the column `group` of the sample index are resampled together.

    Raises StructureError where there is none, or where a task was asked in different ways.
    """
    target = store if isinstance(store, Store) else open_store(store)
    require_two(first, second)
    aligner_names(target, [first, second])
    return compare_kept(target, first, second, group=group, seed=seed)


def _warn(
    met: int | None, question: TaskRows, subject: EvaluatedAligner, told: set[str], on_event: Listener
) -> set[str]:
    """Say, once for a task and the data of a training, that samples were seen in it; returns what was said."""
    if not met:
        return set()
    data = "/".join(subject.aligner.metadata["data"].values())
    text = (
        f"{question.task.title}: {met:,} of {len(question.samples.item_ids):,} samples are in {data}, on which the "
        "aligner was trained, so that its numbers are too good. Extract and train on another split: --split train."
    )
    if text not in told:
        on_event(Note(text))
    return {text}


def _refusal(
    suite: str,
    asked: int,
    absent: Sequence[Mapping[str, str]],
    failed: Sequence[Mapping[str, str]],
    data_root: Path,
    *,
    anything: bool,
) -> StructureError:
    """What to say where nothing, or under `require_all` not everything, could be evaluated."""
    lacking = len({entry["dataset"] for entry in (*absent, *failed)})
    told = [f"{entry['dataset']}: {entry['why']}" for entry in failed[:3]]
    told += [f"and {len(failed) - 3} more with a fault."] if len(failed) > 3 else []
    told += [f"{entry['dataset']}: {entry['how_to_get']}" for entry in absent[:1]]
    told += [_likewise([entry["dataset"] for entry in absent[1:]])] if len(absent) > 1 else []
    first = (
        f"{lacking} of {asked} datasets of the suite {suite} could not be evaluated and --require-all was given"
        if anything
        else f"Nothing could be evaluated: {_none_of(asked, len(failed), suite)} be used here "
        f"(looked below {data_root.absolute()})"
    )
    kind = StructureError if failed else NotPresentError
    return kind(f"{first}. {' '.join(told)}")


def _likewise(names: Sequence[str]) -> str:
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"Likewise: {', '.join(names[:4])}{more}. See: structure datasets"


def _none_of(asked: int, failed: int, suite: str) -> str:
    if asked == 1:
        return f"the one dataset of the suite {suite}{', which has a fault,' if failed else ''} cannot"
    damaged = f", {failed} of which {'has' if failed == 1 else 'have'} a fault," if failed else ""
    return f"none of the {asked} datasets{damaged} of the suite {suite} can"


evaluate = keyword_form(
    "evaluate", EvaluateRequest, run, plan, about="Evaluate aligners zero-shot from cached features, and save results."
)
