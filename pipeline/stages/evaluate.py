"""Stage 4: zero-shot evaluation of aligners from cached features; an encoder runs only for rows not in the store."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from structure.pipeline.aligners.aligner_names import aligner_names
from structure.pipeline.datasets.loading import open_dataset
from structure.pipeline.datasets.split_names import pick_split
from structure.pipeline.evaluation.asked_tasks import AskedTasks
from structure.pipeline.evaluation.comparison import Difference, compare_kept
from structure.pipeline.evaluation.evaluation import Evaluation, EvaluationPlan
from structure.pipeline.evaluation.kept_evaluation import KeptEvaluation
from structure.pipeline.keyword_form import keyword_form
from structure.pipeline.run_context import RunContext
from structure.pipeline.stage_requests.checks import require_two
from structure.pipeline.stage_requests.evaluate import EvaluateRequest
from structure.pipeline.suites.own_labels import OwnLabels
from structure.store import Store, open_store
from structure.store.errors import NotPresentError, StructureError

__all__ = ["Evaluation", "EvaluationPlan", "compare_aligners", "evaluate", "plan", "run"]


def plan(request: EvaluateRequest, context: RunContext) -> EvaluationPlan:
    """What encoders still have to read for a suite, each feature set once, and what is not here; writes nothing.

    Raises as `run` does, but for data that are not here.
    """
    kept = _kept(request, context)
    before = kept.read()
    if before is not None:
        absent = ({"dataset": entry["dataset"], "how_to_get": entry["how_to_get"]} for entry in before.absent)
        return EvaluationPlan((), tuple(absent))
    from structure.pipeline.evaluation.judge_tasks import plan_tasks

    return plan_tasks(context, kept.aligners, kept.asked)


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


def run(request: EvaluateRequest, context: RunContext) -> Evaluation:
    """Evaluate the aligners on every task of the suite whose data are here; an evaluation that is saved and was made
    from the same is read.

    Features of images, captions and prompts are taken from the store, or extracted and saved there. A dataset that is
    damaged is listed in `failed`, and the others go on. Raises StructureError where nothing at all could be evaluated.
    """
    began = time.perf_counter()
    kept = _kept(request, context)
    before = kept.read()
    if before is not None:
        for text in before.notes:
            context.note(text)
        context.note("this evaluation is saved: aligners, tasks and data are the same")
    done = before or _evaluate(request, context, kept)
    if request.require_all and (done.absent or done.failed):
        raise _refusal(request, done.asked, done.absent, done.failed, context.data_root, anything=True)
    return replace(done, seconds=time.perf_counter() - began)


def _evaluate(request: EvaluateRequest, context: RunContext, kept: KeptEvaluation) -> Evaluation:
    from structure.pipeline.evaluation.judge_tasks import judge_tasks

    store, asked = context.store, kept.asked
    stored = kept.stored()
    judged = judge_tasks(context, kept.aligners, asked)
    if not judged.results:
        raise _refusal(request, len(asked.tasks), judged.absent, judged.failed, context.data_root, anything=False)
    differences: list[Difference] = []
    if request.compare:  # what is compared are saved predictions
        only = judged.results if store.files.writable else ()
        differences = compare_kept(store, *request.compare, only=only, group=request.group, seed=request.seed)
    done = Evaluation(
        asked.suite,
        kept.aligners,
        judged.results,
        judged.absent,
        judged.failed,
        len(asked.tasks),
        judged.encoder_passes,
        seconds=0.0,
        differences=tuple(differences),
        by_class=judged.by_class,
        notes=judged.notes,
    )
    if store.files.writable and not done.failed:
        kept.write(done, stored)
    return done


def _kept(request: EvaluateRequest, context: RunContext) -> KeptEvaluation:
    """Where the evaluation that is asked for is saved. Raises StructureError for an aligner that is not there."""
    aligners = aligner_names(context.store, request.names)
    request = _with_split(request, context)
    suite = request.opened_suite
    tasks = tuple(suite.select(request.datasets))
    asked = AskedTasks(suite.label, tasks, request.prompt_set, request.asked, request.seed)
    return KeptEvaluation(context, tuple(aligners), asked, request.compare, request.group)


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


def _refusal(
    request: EvaluateRequest,
    asked: int,
    absent: Sequence[Mapping[str, str]],
    failed: Sequence[Mapping[str, str]],
    data_root: Path,
    *,
    anything: bool,
) -> StructureError:
    """What to say where nothing, or under `require_all` not everything, could be evaluated."""
    suite, lacking = request.opened_suite.name, len({entry["dataset"] for entry in (*absent, *failed)})
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
