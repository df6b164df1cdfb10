"""Suites: named, versioned lists of what is evaluated, read from YAML. Loading the datasets is not done here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Literal

from structure.pipeline.datasets.registry import DATASET_KINDS
from structure.pipeline.datasets.spec import DatasetSpec
from structure.pipeline.datasets.windows import Mode
from structure.pipeline.metrics.registry import metrics_of
from structure.pipeline.yaml_file import Place, YamlFile, load_yaml, shipped
from structure.pipeline.yaml_record import key, keys_of, read_record
from structure.store.errors import unknown

Kind = Literal[
    "zeroshot_classification", "zeroshot_retrieval", "image_caption_selection", "linear_probe", "segmentation"
]
"""CLIP_benchmark's task names, and segmentation, which it has not. A multi-label set is classification scored by
`mean_average_precision`."""

Space = Literal["embedding", "features"]
Background = Literal["class", "left-out", "ignored"]


@dataclass(frozen=True)
class SuiteTask:
    """One dataset, asked one way.

    `dataset` is a dataset spec (`clip-benchmark:wds/vtab/cifar10`, `scenes`, `coco`); `split` None = its default;
    `metric` the one that averages and tables show; `prompts` a prompt set's name or file, "" where nothing is asked in
    words of ours; `label` which of the dataset's labels is asked; `ks` the k of recall@k; `language` that of captions
    or class names. A linear probe is trained on the split `train`, once on all of it and once for every number of
    samples a class in `shots`, in the `space` of the aligner's embeddings or of the frozen layer's features.
    Of a segmentation, `background` says how that class counts and `window` how images are cut for the encoder.
    """

    dataset: str
    kind: Kind
    metric: str
    split: str | None = None
    prompts: str = ""
    label: str = "label"
    ks: tuple[int, ...] = key(default=(1, 5, 10), least=1, fewest=1)
    language: str = "en"
    train: str = "train"
    shots: tuple[int, ...] = key(default=(), least=1)
    space: Space = "embedding"
    background: Background = "class"
    window: Mode = "square"

    @property
    def name(self) -> str:
        """What results call the dataset: `wds/vtab/cifar10`, `scenes`; `birds` for `pairs:birds/pairs.jsonl`."""
        parsed = DatasetSpec.parse(self.dataset)
        scheme, rest = parsed.kind, parsed.argument
        if not rest or (scheme in DATASET_KINDS and DATASET_KINDS[scheme].argument == "optional"):  # scenes:100
            return scheme
        if scheme == "pairs":  # as the store calls it
            file = PurePath(rest)
            return (file.parent.name if file.stem == "pairs" else file.stem) or file.stem
        return rest if scheme == "clip-benchmark" else re.split(r"[/\\]", rest.rstrip("/\\"))[-1]

    @property
    def numbers(self) -> tuple[int, ...]:
        """The k of metrics with `@k`: of a linear probe the samples a class, of a retrieval the k of recall@k."""
        return self.shots if self.kind == "linear_probe" else self.ks

    @property
    def title(self) -> str:
        """`name`, with the label where it is not the ordinary one: `scenes/shape`. One of its kind in a suite."""
        return self.name if self.label == "label" else f"{self.name}/{self.label}"

    def answers(self) -> set[str]:
        """What `--datasets` may call this task: the spec, the title, the name with or without its leading parts."""
        parts = self.name.split("/")
        return {self.dataset, self.title, *("/".join(parts[start:]) for start in range(len(parts)))}


@dataclass(frozen=True)
class Suite:
    """`tasks` run by default; `on_request` only when selected; `collections` are names for several of either."""

    name: str
    version: int
    tasks: tuple[SuiteTask, ...]
    on_request: tuple[SuiteTask, ...]
    collections: Mapping[str, tuple[str, ...]]
    about: str = ""

    @property
    def label(self) -> str:
        """Name and version, as results record them: `scenes@1`."""
        return f"{self.name}@{self.version}"

    def select(self, names: Sequence[str] = ()) -> tuple[SuiteTask, ...]:
        """The tasks that `names` mean, in the suite's order, each once; without names, the suite's default tasks.

        A name is a collection, a dataset spec, its name with or without prefix, or a title (`scenes/shape`).
        Raises `StructureError` that offers the nearest names.
        """
        if not names:
            return self.tasks
        everything = (*self.tasks, *self.on_request)
        chosen: set[SuiteTask] = set()
        for name in names:
            members = self.collections.get(name, (name,))
            found = {task for task in everything if not task.answers().isdisjoint(members)}
            if not found:
                known = [*self.collections, *dict.fromkeys(task.title for task in everything)]
                raise unknown(f"dataset of suite {self.name}", name, known)
            chosen |= found
        return tuple(task for task in everything if task in chosen)


def suite_names() -> list[str]:
    """The suites that ship."""
    return list(shipped("suites"))


def load_suite(spec: str) -> Suite:
    """The suite called `spec` or the YAML file at that path. Mistakes raise `StructureError` with file and line."""
    return read_suite(load_yaml("suite", spec, folder="suites"))


def read_suite(file: YamlFile) -> Suite:
    """The document as a suite. Raises as `load_suite`."""
    top = read_record(file, (), _SuiteFile, noun="suite")
    if top.defaults:
        file.mapping(("defaults",), allowed=keys_of(SuiteTask))
    tasks = tuple(_task(file, ("tasks", index), top.defaults) for index in range(len(top.tasks)))
    on_request = tuple(_task(file, ("on_request", index), top.defaults) for index in range(len(top.on_request)))
    if not tasks:
        raise file.error(("tasks",), "a suite needs at least one task.")
    seen: dict[tuple[str, str | None, Kind], SuiteTask] = {}
    for index, task in enumerate((*tasks, *on_request)):
        if (task.title, task.split, task.kind) in seen:
            place: Place = ("tasks", index) if index < len(tasks) else ("on_request", index - len(tasks))
            raise file.error(place, f"{task.title} ({task.split}, {task.kind}) stands twice; it would count double.")
        seen[task.title, task.split, task.kind] = task
    known = set().union(*(task.answers() for task in (*tasks, *on_request)))
    for name, members in top.collections.items():
        for index, member in enumerate(members):
            if member not in known:
                wrong = unknown("dataset", member, sorted(known))
                raise file.error(("collections", name, index), str(wrong))
    return Suite(top.name, top.version, tasks, on_request, top.collections, top.about)


@dataclass(frozen=True)
class _SuiteFile:
    """What a suite's file holds; the tasks are read by themselves, each with `defaults` for keys it does not have."""

    name: str
    version: int
    tasks: tuple[Any, ...]
    about: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    on_request: tuple[Any, ...] = ()
    collections: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def _task(file: YamlFile, place: Place, defaults: Mapping[str, Any]) -> SuiteTask:
    task = read_record(file, place, SuiteTask, noun="task", defaults=defaults, shorthand="dataset")
    known = [metric.name for metric in metrics_of(task.kind, task.numbers)]
    if task.metric not in known:
        raise file.error((*place, "metric"), str(unknown(f"metric of {task.kind}", task.metric, known)))
    if task.kind in ("zeroshot_classification", "segmentation") and not task.prompts:
        raise file.error(place, f"{task.kind} of {task.name} needs 'prompts', such as plain.")
    return task
