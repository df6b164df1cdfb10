"""Prompt sets: where the class names and texts of a zero-shot task are looked up, in which order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from structure.pipeline.datasets.dataset import Task
from structure.pipeline.suites.class_names import bound, renamed
from structure.pipeline.suites.prompt_sources import benchmark_lists, cupl_descriptions, imagenet_lists
from structure.pipeline.suites.prompts import Prompts, refuse_slotless
from structure.pipeline.yaml_file import YamlFile, load_yaml, shipped
from structure.pipeline.yaml_record import read_record
from structure.store.errors import StructureError

Source = Literal["dataset", "open_clip", "clip-benchmark", "cupl", "set"]

IMAGENET_NAMED = ("imagenet1k", "imagenetv2", "imagenet_sketch")
"""Datasets with ImageNet-1k's thousand classes in its order. The -a, -r, -o and objectnet copies bring their own."""

IMAGENET_FAMILY = (*IMAGENET_NAMED, "imagenet-a", "imagenet-r", "imagenet-o")
"""Datasets whose classes are ImageNet's or some of them."""

REPEATED_NAMES: Mapping[str, frozenset[str]] = {name: frozenset({"missile", "sunglasses"}) for name in IMAGENET_NAMED}
"""Names that two classes share in the published list. Every published figure was made with them, so they are allowed
there (of two equal classes only the first is ever chosen); anywhere else a repeated name is an error."""


@dataclass(frozen=True)
class ClassWording:
    """Class names and their texts as one place has them; empty = that place has none. `source` says which place.

    `descriptions` are texts by class name, whole sentences without a slot; `names` words by the dataset's class name.
    `of_a_file`: from a prompt set's own file, whose classes are never bound by their order.
    """

    classes: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    source: str = ""
    descriptions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    of_a_file: bool = False

    @property
    def has_texts(self) -> bool:
        return bool(self.templates or self.descriptions)


@dataclass(frozen=True)
class PromptSet:
    """An order of places to look in, and the words that the set itself holds.

    `order` names places from first to last: `dataset` (its own files), `open_clip` (ImageNet), `clip-benchmark` (the
    installed package's data), `cupl` (the same package's descriptions of ImageNet's classes), `set` (this file). Names
    and texts are looked up separately, so that a set may replace the templates and leave the names to the dataset.
    `entries` are by dataset name; `templates` are the set's last resort, or else those of the dataset `templates_of`.
    """

    name: str
    version: int
    order: tuple[Source, ...]
    entries: Mapping[str, ClassWording]
    templates: tuple[str, ...] = ()
    templates_of: str = ""
    about: str = ""

    @property
    def label(self) -> str:
        """Name and version, as results record them: `plain@1`."""
        return f"{self.name}@{self.version}"


def prompt_set_names() -> list[str]:
    """The prompt sets that ship."""
    return list(shipped("prompts"))


def load_prompt_set(spec: str) -> PromptSet:
    """The set called `spec` (`plain`, `clip-benchmark`, `structure-paper`) or the YAML file at that path.

    Raises `StructureError` with file and line: unknown keys, a template without `{c}`, a repeated name or template.
    """
    file = load_yaml("prompt set", spec, folder="prompts")
    top = read_record(file, (), _PromptFile, noun="prompt set")
    return PromptSet(
        name=top.name,
        version=top.version,
        order=top.order,
        entries={dataset: _words_of(file, dataset, entry) for dataset, entry in top.datasets.items()},
        templates=_checked(file, ("templates",), top.templates),
        templates_of=top.templates_of,
        about=top.about,
    )


@dataclass(frozen=True)
class _DatasetPrompts:
    """What a file holds for one dataset."""

    classes: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    templates: tuple[str, ...] = ()
    descriptions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class _PromptFile:
    """What the file of a prompt set holds."""

    name: str
    version: int
    about: str = ""
    order: tuple[Source, ...] = ("set", "dataset", "open_clip", "clip-benchmark")
    datasets: Mapping[str, _DatasetPrompts] = field(default_factory=dict)
    templates: tuple[str, ...] = ()
    templates_of: str = ""


def resolve_prompts(
    prompt_set: PromptSet, *, dataset: str, task: str = "label", own: Task | None = None, language: str = "en"
) -> Prompts:
    """Names and templates of `task` (a label of `dataset`) as the set's order finds them.

    `dataset` is the name after the scheme: `wds/vtab/cifar10`, `scenes`. It is looked up whole, then without `wds/`,
    then without `vtab/`; a task other than `label` as `<dataset>/<task>`. `own` is what the dataset brings. Where it
    brings names, they are what the labels mean, and names from elsewhere are bound to them. `language` picks the list
    of the package clip-benchmark; for any other than English only that and the set itself are asked. Raises
    `StructureError` when no place has the names or the templates, saying which places were asked.
    """
    keys = lookup_keys(dataset, task)
    order = tuple(p for p in prompt_set.order if language == "en" or p in ("set", "clip-benchmark"))
    found = [_words(place, keys, prompt_set, own, language) for place in order]
    names = next((words for words in found if words.classes or words.names), None)
    if names is None:
        raise StructureError(
            f"No class names for {'/'.join((dataset, task)) if task != 'label' else dataset}: asked "
            f"{', '.join(order)} of prompt set {prompt_set.label} in language {language}. Put them into the dataset "
            "(classnames.txt), install the package clip-benchmark, or pass --prompts FILE.yaml with a list of classes."
        )
    classes = _bound(names, own, dataset=dataset)
    last = [_fallback(prompt_set, language)] if prompt_set.templates or prompt_set.templates_of else []
    texts = next((words for words in [*found, *last] if words.has_texts), None)
    if texts is None:
        raise StructureError(
            f"No templates for {dataset}: asked {', '.join(order)} of prompt set {prompt_set.label}. "
            "Pass --prompts plain, or a FILE.yaml with templates such as 'a photo of a {c}.'"
        )
    repeated = next((REPEATED_NAMES[key] for key in keys if key in REPEATED_NAMES), frozenset())
    if language != "en" and names.source.startswith("clip-benchmark"):
        # Published translations give several classes one word; every published figure was made with them.
        repeated = frozenset(name for name, count in Counter(classes).items() if count > 1)
    return Prompts(
        prompt_set.label,
        classes,
        texts.templates,
        names.source,
        texts.source,
        repeated,
        tuple(texts.descriptions.get(name, ()) for name in classes) if texts.descriptions else (),
    )


def _bound(words: ClassWording, own: Task | None, *, dataset: str) -> tuple[str, ...]:
    """The class names in the order that the labels count."""
    if own is None or not own.classes:
        if words.names:
            raise StructureError(
                f"{words.source}: names says what to call each class of {dataset}, which brings no class names. List "
                "the classes in the order of its labels: classes: [...]"
            )
        return words.classes
    if words.names:
        return renamed(own.classes, words.names, source=words.source, dataset=dataset)
    return bound(own.classes, words.classes, source=words.source, dataset=dataset, by_order=not words.of_a_file)


def lookup_keys(dataset: str, task: str = "label") -> list[str]:
    """Names to look a dataset up by, most specific first: `wds/vtab/dtd` -> `wds/vtab/dtd`, `vtab/dtd`, `dtd`."""
    keys = [dataset]
    for prefix in ("wds/", "vtab/"):
        if keys[-1].startswith(prefix):
            keys.append(keys[-1].removeprefix(prefix))
    return keys if task == "label" else [f"{key}/{task}" for key in keys]


def _words(place: Source, keys: Sequence[str], prompt_set: PromptSet, own: Task | None, language: str) -> ClassWording:
    if place == "dataset":
        return (
            ClassWording(own.classes, own.templates, own.source or "the dataset") if own is not None else ClassWording()
        )
    if place == "set":
        return next((prompt_set.entries[key] for key in keys if key in prompt_set.entries), ClassWording())
    if place == "open_clip":
        return _imagenet() if any(key in IMAGENET_NAMED for key in keys) else ClassWording()
    if place == "cupl":
        return _cupl() if any(key in IMAGENET_FAMILY for key in keys) else ClassWording()
    found = (_benchmark(key, language) for key in keys)
    return next((words for words in found if words.classes or words.templates), ClassWording())


def _fallback(prompt_set: PromptSet, language: str) -> ClassWording:
    if prompt_set.templates:
        return ClassWording(templates=prompt_set.templates, source=f"prompt set {prompt_set.label}, default")
    other = prompt_set.templates_of
    words = (_words(place, [other], prompt_set, None, language) for place in prompt_set.order)
    found = next((words for words in words if words.templates), ClassWording())
    return ClassWording(templates=found.templates, source=f"{found.source} ({other}'s, as default)")


def _imagenet() -> ClassWording:
    classes, templates, source = imagenet_lists()
    return ClassWording(classes, templates, source)


def _cupl() -> ClassWording:
    descriptions, source = cupl_descriptions()
    return ClassWording(descriptions=descriptions, source=source)


def _benchmark(key: str, language: str) -> ClassWording:
    classes, templates, source = benchmark_lists(key, language)
    return ClassWording(classes, templates, source)


def _words_of(file: YamlFile, dataset: str, entry: _DatasetPrompts) -> ClassWording:
    """The words of one dataset. Raises `StructureError` for templates and descriptions at once."""
    place = ("datasets", dataset)
    if entry.templates and entry.descriptions:
        raise file.error(
            (*place, "descriptions"), "templates and descriptions at once: a class is asked with one or the other."
        )
    if entry.classes and entry.names:
        raise file.error(
            (*place, "names"), "classes and names at once: list the class names, or say what each is called."
        )
    for name in entry.descriptions:
        if entry.classes and name not in entry.classes:
            raise file.error((*place, "descriptions", name), f"{name!r} is not one of the classes of {dataset}.")
    return ClassWording(
        classes=_checked(file, (*place, "classes"), entry.classes),
        templates=_checked(file, (*place, "templates"), entry.templates),
        descriptions={
            name: _checked(file, (*place, "descriptions", name), texts) for name, texts in entry.descriptions.items()
        },
        names=entry.names,
        of_a_file=True,
        source=f"{file.name}: {dataset}",
    )


def _checked(file: YamlFile, place: tuple[str, ...], strings: tuple[str, ...]) -> tuple[str, ...]:
    """Strings of a prompt file, each once and templates with a slot; messages have the file's own line numbers."""
    seen: dict[str, int] = {}
    for index, entry in enumerate(strings):
        if entry in seen:
            first = file.lines[(*place, seen[entry])]
            raise file.error((*place, index), f"{entry!r} stands twice, first on line {first}. Rename or remove one.")
        seen[entry] = index
        if place[-1] == "templates":
            refuse_slotless(entry, f"{file.name}, line {file.lines[(*place, index)]}")
    return strings
