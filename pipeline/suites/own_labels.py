"""Zero-shot classification of one dataset's own labels, without a suite file: a suite and a prompt set of one task."""

from __future__ import annotations

import shlex
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from structure.pipeline.datasets.class_files import read_lines
from structure.pipeline.datasets.registry import DATASET_KINDS
from structure.pipeline.suites.prompt_set import ClassWording, PromptSet
from structure.pipeline.suites.prompts import refuse_slotless
from structure.pipeline.suites.suite import Suite, SuiteTask
from structure.pipeline.yaml_file import read_yaml
from structure.store.errors import UsageError

NAME = "labels"
"""What results call the suite."""
TEMPLATE = "a photo of a {c}."


@dataclass(frozen=True)
class OwnLabels:
    """The labels of `dataset` (a spec, as `--dataset` takes it; a bare folder is one of class folders), asked with
    `prompts`: templates with `{c}`.

    `label` names one of the dataset's labels, `split` one of its splits (by default `test` where there is one). In
    `classes`, a file, a text has one class name a line and a YAML file the words by class name; both are bound to the
    labels by name. Raises StructureError for a template without `{c}` and for a file that cannot be read.
    """

    dataset: str
    _: KW_ONLY
    label: str = "label"
    split: str | None = None
    prompts: tuple[str, ...] = (TEMPLATE,)
    classes: str | None = None

    def __post_init__(self) -> None:
        if self.dataset not in DATASET_KINDS and ":" not in self.dataset and Path(self.dataset).is_dir():
            object.__setattr__(self, "dataset", f"folder:{self.dataset}")
        for number, template in enumerate(self.prompts, start=1):
            refuse_slotless(template, f"--prompt {number}")
        _ = self.prompt_set  # raises for a file of classes that cannot be read

    @property
    def suite(self) -> Suite:
        """The one task as a suite, which is called `labels`."""
        task = SuiteTask(
            self.dataset, "zeroshot_classification", "acc1", split=self.split, prompts=NAME, label=self.label
        )
        return Suite(NAME, 1, (task,), (), {})

    @property
    def prompt_set(self) -> PromptSet:
        """What the task is asked with."""
        name = self.suite.tasks[0].name
        key = name if self.label == "label" else f"{name}/{self.label}"
        return PromptSet(NAME, 1, ("set", "dataset"), {key: _wording(self.prompts, self.classes)})

    @property
    def asked(self) -> str:
        """The options that ask for it, as they are typed."""
        options: list[tuple[str, str | None]] = [
            ("dataset", self.dataset),
            ("split", self.split),
            ("label", self.label),
            *(("prompt", template) for template in self.prompts),
            ("classes", self.classes),
        ]
        return " ".join(f"--{name} {shlex.quote(value)}" for name, value in options if value is not None)


def _wording(templates: tuple[str, ...], classes: str | None) -> ClassWording:
    """The templates, with what a file of classes says. Raises StructureError for a file that cannot be read, UsageError
    for one without a name."""
    if classes is None:
        return ClassWording(templates=templates, source="--prompt")
    file, source = Path(classes), f"--classes {classes}"
    names: dict[str, str] = {}
    listed: tuple[str, ...] = ()
    if file.suffix in (".yaml", ".yml"):
        read = read_yaml(file)
        place = ("names",) if list(read.data) == ["names"] else ()  # as a prompts file has it, or bare
        said = read.named(place)
        names = dict(zip(map(str, said), read.strings_of(place, list(said.values())), strict=True))
    else:
        listed = tuple(read_lines(file))
    if not names and not listed:
        raise UsageError(
            f"{source} names no class: it is empty or not there. Write a text file with one class name a line, as the "
            "labels are called, or a .yaml file with the words for each, such as mel: melanoma"
        )
    if not all(listed):
        raise UsageError(f"{source}: line {listed.index('') + 1} is empty. Remove it, or name the class.")
    return ClassWording(listed, templates, source, names=names, of_a_file=True)
