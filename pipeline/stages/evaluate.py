"""Stage 4: zero-shot evaluation of aligners from cached features; an encoder runs only for rows not in the store."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from structure.pipeline.device import resolve_device
from structure.pipeline.evaluation.judging import JUDGES
from structure.pipeline.evaluation.keeping import keep
from structure.pipeline.evaluation.question import Questions
from structure.pipeline.evaluation.subject import Subject, aligner_names
from structure.pipeline.features.cached import FeatureSource
from structure.pipeline.progress import Listener, Progress, silent
from structure.pipeline.results import Result
from structure.pipeline.suites.suite import load_suite
from structure.store import Store, open_store
from structure.store.errors import NotPresentError, StructureError


@dataclass(frozen=True)
class Evaluation:
    """Every number, what could not be evaluated and how to get it, and how often an encoder had to run."""

    suite: str
    aligners: tuple[str, ...]
    results: tuple[Result, ...]
    absent: tuple[Mapping[str, str], ...]
    asked: int
    encoder_passes: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The document of `structure eval --json`."""
        return {
            "suite": self.suite,
            "aligners": list(self.aligners),
            "results": [result.row() for result in self.results],
            "absent": [dict(entry) for entry in self.absent],
            "evaluated": self.asked - len(self.absent),
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
    device: str = "auto",
    seed: int = 0,
    on_event: Listener = silent,
) -> Evaluation:
    """Evaluate aligners (by name; the newest by default) on a suite and keep the results below `results/<aligner>/`.

    Features of images, captions and prompts are taken from the store, or extracted and kept there. Datasets that are
    not on this machine are listed in `absent`; under `require_all` they are an error. Raises StructureError where
    nothing at all could be evaluated.
    """
    began = time.perf_counter()
    target = store if isinstance(store, Store) else open_store(store)
    chosen = load_suite(suite)
    tasks = chosen.select(datasets)
    for task in tasks:
        if task.kind not in JUDGES:
            raise StructureError(f"{task.title} asks for {task.kind}; this version evaluates {', '.join(JUDGES)}.")
    subjects = [Subject.load(target, name) for name in aligner_names(target, aligners)]
    source = FeatureSource(target, device=resolve_device(device), on_event=on_event)
    questions = Questions(target, data_root=data_root, prompts=prompts, on_event=on_event)
    absent: list[dict[str, str]] = []
    results: list[Result] = []
    for number, task in enumerate(tasks, start=1):
        try:
            question = questions.ask(task)
            for subject in subjects:
                judged = JUDGES[task.kind](question, subject, source, seed=seed)
                results += keep(target, chosen.label, question, subject, judged)
        except NotPresentError as error:
            absent.append({"dataset": task.title, "why": f"{task.dataset} is not here", "how_to_get": str(error)})
        on_event(Progress("evaluating", number, len(tasks), "tasks"))
    if absent and (require_all or len(absent) == len(tasks)):
        raise NotPresentError(
            f"{len(absent)} of {len(tasks)} datasets of the suite {chosen.name} could not be evaluated"
            f"{'' if len(absent) == len(tasks) else ' and --require-all was given'}. "
            + " ".join(f"{entry['dataset']}: {entry['how_to_get']}" for entry in absent[:3])
            + (f" ... and {len(absent) - 3} more; see: structure datasets" if len(absent) > 3 else "")
        )
    return Evaluation(
        chosen.label,
        tuple(subject.name for subject in subjects),
        tuple(results),
        tuple(absent),
        len(tasks),
        source.passes,
        time.perf_counter() - began,
    )
