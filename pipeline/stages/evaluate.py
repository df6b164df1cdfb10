"""Stage 4: zero-shot evaluation of aligners from cached features; an encoder runs only for rows not in the store."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from structure.pipeline.device import resolve_device
from structure.pipeline.evaluation.candidate import Candidate, aligner_names
from structure.pipeline.evaluation.comparison import Difference, compare_kept
from structure.pipeline.evaluation.save_results import keep, trained_on
from structure.pipeline.evaluation.task import TaskRows, TaskSource
from structure.pipeline.evaluation.task_kinds import JUDGES
from structure.pipeline.extraction.estimate import Consent
from structure.pipeline.extraction.feature_source import KEPT_BYTES, FeatureSource
from structure.pipeline.progress import Listener, Note, Progress, silent
from structure.pipeline.results import COUNTED, Result
from structure.pipeline.suites.published import beside
from structure.pipeline.suites.suite import load_suite
from structure.store import Store, open_store
from structure.store.errors import NotPresentError, StructureError, UsageError


@dataclass(frozen=True)
class Evaluation:
    """Every number, what could not be evaluated and how to get it, and how often an encoder had to run.

    `absent` lists what is not on this machine, `failed` what is here and cannot be used (a damaged tar, a template
    without `{c}`); `differences` are those of two aligners that were compared.
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
                    **result.row(),
                    "notes": {name: result.provenance[name] for name in COUNTED if name in result.provenance},
                }
                for result in self.results
            ],
            "absent": [dict(entry) for entry in self.absent],
            "failed": [dict(entry) for entry in self.failed],
            "published": [entry.row() for entry in beside(self.results)],
            "differences": [difference.row() for difference in self.differences],
            "evaluated": self.evaluated,
            "asked": self.asked,
            "encoder_passes": self.encoder_passes,
            "seconds": self.seconds,
        }


def evaluate(
    suite: str,
    *,
    store: Store | str | Path,
    aligners: Sequence[str] = (),
    datasets: Sequence[str] = (),
    prompts: str | None = None,
    data_root: str | Path = "data",
    require_all: bool = False,
    compare: tuple[str, str] | None = None,
    device: str = "auto",
    seed: int = 0,
    trust_remote_code: bool = False,
    consent: Consent | None = None,
    on_event: Listener = silent,
) -> Evaluation:
    """Evaluate aligners (by name; the newest by default) on a suite and keep the results below `results/<aligner>/`.

    Features of images, captions and prompts are taken from the store, or extracted and kept there. Datasets that are
    not on this machine are listed in `absent`; under `require_all` they are an error. One that is damaged is listed in
    `failed`, and the others go on. `compare` names two aligners, which are evaluated too and compared sample by sample.
    `consent` is asked before an encoder runs, and raises to stop. Raises StructureError where nothing at all could be
    evaluated.
    """
    began = time.perf_counter()
    if compare:
        _require_two(*compare)
    target = store if isinstance(store, Store) else open_store(store)
    chosen = load_suite(suite)
    tasks = chosen.select(datasets)
    for task in tasks:
        if task.kind not in JUDGES:
            raise StructureError(f"{task.title} asks for {task.kind}; this version evaluates {', '.join(JUDGES)}.")
    names = aligner_names(target, [*aligners, *(compare or ())])
    place = resolve_device(device)
    subjects = [Candidate.load(target, name, device=place) for name in names]
    source = FeatureSource(
        target,
        device=place,
        keep=KEPT_BYTES if len(subjects) > 1 else 0,
        trust_remote_code=trust_remote_code,
        consent=consent,
        on_event=on_event,
    )
    questions = TaskSource(target, data_root=data_root, prompts=prompts, on_event=on_event)
    absent: list[dict[str, str]] = []
    failed: list[dict[str, str]] = []
    results: list[Result] = []
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
                    results += keep(target, chosen.label, question, subject, judged)
                    told |= _warn(trained_on(target, question, subject), question, subject, told, on_event)
        on_event(Progress("evaluating", number, len(tasks), "tasks"))
    if not results or (require_all and (absent or failed)):
        raise _refusal(chosen.name, len(tasks), absent, failed, Path(data_root), anything=bool(results))
    differences = compare_kept(target, *compare, only=results, seed=seed) if compare else []
    return Evaluation(
        chosen.label,
        tuple(names),
        tuple(results),
        tuple(absent),
        tuple(failed),
        len(tasks),
        source.passes,
        time.perf_counter() - began,
        tuple(differences),
    )


def compare_aligners(first: str, second: str, *, store: Store | str | Path, seed: int = 0) -> list[Difference]:
    """Differences of two aligners on every task that both were evaluated on before, sample by sample.

    Raises StructureError where there is none, or where a task was asked in different ways.
    """
    target = store if isinstance(store, Store) else open_store(store)
    _require_two(first, second)
    aligner_names(target, [first, second])
    return compare_kept(target, first, second, seed=seed)


def _warn(met: int | None, question: TaskRows, subject: Candidate, told: set[str], on_event: Listener) -> set[str]:
    """Say, once for a task and the data of a training, that items were seen in it; returns what was said."""
    if not met:
        return set()
    data = "/".join(subject.aligner.metadata["data"].values())
    text = (
        f"{question.task.title}: {met:,} of {len(question.samples.item_ids):,} items are in {data}, on which the "
        "aligner was trained, so that its numbers are too good. Extract and train on another split: --split train."
    )
    if text not in told:
        on_event(Note(text))
    return {text}


def _require_two(first: str, second: str) -> None:
    if first == second:
        raise UsageError(f"--compare {first} {second}: an aligner does not differ from itself. Name two.")


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
        else f"Nothing could be evaluated: {_none_of(asked, len(failed))} of the suite {suite} can be used here "
        f"(looked below {data_root.absolute()})"
    )
    kind = StructureError if failed else NotPresentError
    return kind(f"{first}. {' '.join(told)}")


def _likewise(names: Sequence[str]) -> str:
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"Likewise: {', '.join(names[:4])}{more}. See: structure datasets"


def _none_of(asked: int, failed: int) -> str:
    damaged = f", {failed} of which {'has' if failed == 1 else 'have'} a fault," if failed else ""
    return f"none of the {asked} dataset{'s' if asked > 1 else ''}{damaged}"
