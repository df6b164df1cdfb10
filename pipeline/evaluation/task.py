"""What one task of a suite asks: its rows, and the prompts of a classification."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from structure.pipeline.datasets.dataset import PROMPTS, Task
from structure.pipeline.evaluation.mask_protocol import protocol_of
from structure.pipeline.evaluation.outdated import samples_digest
from structure.pipeline.extraction.sample_index import SampleIndex, open_rows
from structure.pipeline.metrics.metric import AnyMetric
from structure.pipeline.metrics.registry import evaluated_metrics
from structure.pipeline.run_context import RunContext
from structure.pipeline.suites.prompt_set import PromptSet, load_prompt_set, resolve_prompts
from structure.pipeline.suites.prompts import Prompts
from structure.pipeline.suites.suite import SuiteTask
from structure.store import SampleItem, Samples
from structure.store.errors import NotPresentError, StructureError, unknown


@dataclass(frozen=True)
class TaskRows:
    """A task with its data at hand; `prompts` is None where nothing is asked in words of ours, `training` where nothing
    is trained."""

    task: SuiteTask
    rows: SampleIndex
    prompts: Prompts | None = None
    training: SampleIndex | None = None
    memo: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """What a judge keeps between the aligners that it asks."""

    @property
    def metrics(self) -> tuple[AnyMetric, ...]:
        """What is computed of each aligner."""
        return evaluated_metrics(self.task.kind, self.task.numbers, named=self.task.metric)

    @property
    def samples(self) -> Samples:
        return self.rows.samples

    @cached_property
    def item_ids(self) -> list[str]:
        """Ids of the samples, in order."""
        return self.samples.item_ids

    @cached_property
    def prompt_rows(self) -> SampleIndex:
        """The prompts as rows of their own: split `prompts.<label>.<digest>`, class by class."""
        assert self.prompts is not None
        items = [SampleItem(f"{number:06d}", (text,)) for number, text in enumerate(self.prompts.texts())]
        split = f"prompts.{self.task.label}.{self.prompts.digest[:12]}"
        return SampleIndex(Samples.build(self.samples.dataset, split, items, kind=PROMPTS), None, "")

    @cached_property
    def sampled(self) -> dict[str, Any]:
        """Which samples were asked about, as the store has them: a split that grows later is another question."""
        samples = self.samples
        return {"dataset": samples.dataset, "split": samples.split, "digest": samples_digest(samples)}

    def provenance(self) -> dict[str, Any]:
        """What a result records of the question; JSON values."""
        return {
            "dataset_spec": self.task.dataset,
            "split": self.samples.split,
            "samples": self.sampled,
            "task": self.task.kind,
            "language": self.task.language,
            **(self.prompts.provenance() if self.prompts else {"captions": len(self.samples.caption_rows())}),
        }


class TaskSource:
    """Opens the tasks of a suite; a dataset that several tasks ask about is opened once.

    Without `save` (a dry run) no sample index is written to the store.
    """

    def __init__(self, context: RunContext, *, prompts: PromptSet | None, save: bool = True) -> None:
        self.context, self.prompts, self.save = context, prompts, save
        self._opened: dict[tuple[str, str | None], SampleIndex] = {}

    def ask(self, task: SuiteTask) -> TaskRows:
        """Raises NotPresentError where the data are not here, StructureError where they cannot be used."""
        rows = self._opened_once(task.dataset, task.split)
        training = self._opened_once(task.dataset, task.train) if task.kind == "linear_probe" else None
        return TaskRows(task, rows, self._prompts(task, rows.samples), training)

    def _opened_once(self, dataset: str, split: str | None) -> SampleIndex:
        if (dataset, split) not in self._opened:
            self._opened[dataset, split] = self._open(dataset, split)
        return self._opened[dataset, split]

    def _open(self, dataset: str, split: str | None) -> SampleIndex:
        """From the raw data, or from the store alone where a dataset of that name was saved or imported."""
        kept = Samples.file(dataset, split or "test") if ":" not in dataset else ""
        try:
            return open_rows(self.context, dataset, split=split, save=self.save)
        except StructureError:
            if not kept or not self.context.store.files.exists(kept):
                raise
            return SampleIndex(self.context.store.samples(dataset, split or "test"), None, "")

    def _prompts(self, task: SuiteTask, samples: Samples) -> Prompts | None:
        if task.kind == "segmentation":
            return self._mask_prompts(task)
        if task.kind != "zeroshot_classification":
            return None
        own = samples.tasks.get(task.label)
        if own is None:
            hint = f"It was looked for in {task.dataset}."
            if task.dataset.startswith("pairs:"):
                hint += " For labels in a column of another name: pairs:FILE?label=COLUMN"
            raise unknown("label", task.label, list(samples.tasks), hint=hint)
        return resolve_prompts(
            self.prompts or load_prompt_set(task.prompts),
            dataset=task.name,
            task=task.label,
            own=Task(tuple(own["classes"]), tuple(own["templates"]), own["source"]),
            language=task.language,
        )

    def _mask_prompts(self, task: SuiteTask) -> Prompts | None:
        """The class names of masks, with the templates of a task of the dataset that asks for the same names."""
        pictures = self._opened[task.dataset, task.split].dataset
        if pictures is None:
            raise NotPresentError(f"The images and masks of {task.dataset} are not on this machine.")
        if not pictures.mask_classes:
            raise StructureError(f"{task.dataset} has no masks, and {task.title} asks for segmentation.")
        names = protocol_of(pictures.mask_classes, task.background).names
        same = next((own.templates for own in pictures.tasks.values() if own.classes == names), ())
        return resolve_prompts(
            self.prompts or load_prompt_set(task.prompts),
            dataset=task.name,
            task="masks",
            own=Task(names, same, f"mask classes of {pictures.name}"),
        )
