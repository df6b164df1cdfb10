"""Prompt sets: which class names and templates a zero-shot task uses, where they came from, and their digest."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from structure.pipeline.datasets.dataset import Task
from structure.pipeline.suites.prompt_sources import benchmark_lists, imagenet_lists
from structure.pipeline.yaml_file import YamlFile, load_yaml, shipped
from structure.store.errors import StructureError

Source = Literal["dataset", "open_clip", "clip-benchmark", "set"]
SLOT = "{c}"

IMAGENET_NAMED = ("imagenet1k", "imagenetv2", "imagenet_sketch")
"""Datasets with ImageNet-1k's thousand classes in its order. The -a, -r, -o and objectnet copies bring their own."""

REPEATED_NAMES: Mapping[str, frozenset[str]] = {name: frozenset({"missile", "sunglasses"}) for name in IMAGENET_NAMED}
"""Names that two classes share in the published list. Every published figure was made with them, so they are allowed
there (of two equal classes only the first is ever chosen); anywhere else a repeated name is an error."""


@dataclass(frozen=True)
class Words:
    """Class names and templates as one place has them; empty = that place has none. `source` says which place."""

    classes: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True)
class Prompts:
    """What one task is asked with. It cannot be built invalid: two classes, none twice, every template with `{c}`.

    `digest` covers names and templates in their order, so equal digests mean equal questions.
    """

    prompt_set: str
    classes: tuple[str, ...]
    templates: tuple[str, ...]
    classes_source: str
    templates_source: str
    repeated: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise StructureError(
                f"{self.classes_source}: {len(self.classes)} class name(s). With fewer than 2 every answer is right "
                "and the number says nothing. Add the other classes."
            )
        refuse_repeats(self.classes, self.classes_source, allowed=self.repeated)
        if not self.templates:
            raise StructureError(
                f"{self.templates_source}: no template. Give at least one, such as 'a photo of a {SLOT}.'"
            )
        for number, template in enumerate(self.templates, start=1):
            refuse_slotless(template, f"{self.templates_source}, template {number}")

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the JSON list [class names, templates]."""
        words = json.dumps([self.classes, self.templates], ensure_ascii=False)
        return hashlib.sha256(words.encode()).hexdigest()

    def texts(self) -> list[str]:
        """Every prompt, class by class: entry `c * len(templates) + t` is template t with class c put in."""
        return [template.replace(SLOT, name) for name in self.classes for template in self.templates]

    def provenance(self) -> dict[str, Any]:
        """What a result records about its prompts; JSON values."""
        return {
            "prompt_set": self.prompt_set,
            "prompts_digest": self.digest,
            "classes": len(self.classes),
            "templates": len(self.templates),
            "classes_source": self.classes_source,
            "templates_source": self.templates_source,
        }


@dataclass(frozen=True)
class PromptSet:
    """An order of places to look in, and the words that the set itself holds.

    `order` names places from first to last: `dataset` (its own files), `open_clip` (ImageNet), `clip-benchmark` (the
    installed package's data), `set` (this file). Names and templates are looked up separately, so that a set may
    replace the templates and leave the names to the dataset. `entries` are by dataset name; `templates` are the set's
    last resort, or else those of the dataset `templates_of`.
    """

    name: str
    version: int
    order: tuple[Source, ...]
    entries: Mapping[str, Words]
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
    top = file.mapping((), allowed=("name", "version", "about", "order", "datasets", "templates", "templates_of"))
    for key, kind in (("name", str), ("version", int)):
        if not isinstance(top.get(key), kind):
            raise file.error((key,), f"{key!r} is {top.get(key)!r}; a prompt set needs a {kind.__name__} there.")
    order = file.strings(("order",)) if "order" in top else ("set", "dataset", "open_clip", "clip-benchmark")
    for index, place in enumerate(order):
        if place not in get_args(Source):
            raise file.error(("order", index), f"unknown place {place!r}. Known: {', '.join(get_args(Source))}.")
    entries = {}
    for dataset in file.named(("datasets",)) if "datasets" in top else ():
        words = file.mapping(("datasets", dataset), allowed=("classes", "templates"))
        read = {key: _checked(file, ("datasets", dataset, key)) for key in words}
        entries[str(dataset)] = Words(**read, source=f"{file.name}: {dataset}")
    return PromptSet(
        name=top["name"],
        version=top["version"],
        order=order,  # type: ignore[arg-type]
        entries=entries,
        templates=_checked(file, ("templates",)) if "templates" in top else (),
        templates_of=str(top.get("templates_of", "")),
        about=str(top.get("about", "")),
    )


def resolve_prompts(
    prompt_set: PromptSet, *, dataset: str, task: str = "label", own: Task | None = None, language: str = "en"
) -> Prompts:
    """Names and templates of `task` (a label of `dataset`) as the set's order finds them.

    `dataset` is the name after the scheme: `wds/vtab/cifar10`, `scenes`. It is looked up whole, then without `wds/`,
    then without `vtab/`; a task other than `label` as `<dataset>/<task>`. `own` is what the dataset brings. Where it
    brings names, their number is what the labels mean, and names from elsewhere must be as many. `language` picks the
    list of the package clip-benchmark; for any other than English only that and the set itself are asked. Raises
    `StructureError` when no place has the names or the templates, saying which places were asked.
    """
    keys = lookup_keys(dataset, task)
    order = tuple(p for p in prompt_set.order if language == "en" or p in ("set", "clip-benchmark"))
    found = [_words(place, keys, prompt_set, own, language) for place in order]
    names = next((words for words in found if words.classes), None)
    if names is None:
        raise StructureError(
            f"No class names for {'/'.join((dataset, task)) if task != 'label' else dataset}: asked "
            f"{', '.join(order)} of prompt set {prompt_set.label} in language {language}. Put them into the dataset "
            "(classnames.txt), install the package clip-benchmark, or pass --prompts FILE.yaml with a list of classes."
        )
    if own is not None and own.classes and len(names.classes) != len(own.classes):
        raise StructureError(
            f"{dataset} has labels for {len(own.classes)} classes but {names.source} names {len(names.classes)}. "
            "Labels would point to the wrong names. Use a prompt set made for this copy of the dataset."
        )
    last = [_fallback(prompt_set, language)] if prompt_set.templates or prompt_set.templates_of else []
    templates = next((words for words in [*found, *last] if words.templates), None)
    if templates is None:
        raise StructureError(
            f"No templates for {dataset}: asked {', '.join(order)} of prompt set {prompt_set.label}. "
            "Pass --prompts plain, or a FILE.yaml with templates such as 'a photo of a {c}.'"
        )
    repeated = next((REPEATED_NAMES[key] for key in keys if key in REPEATED_NAMES), frozenset())
    if language != "en" and names.source.startswith("clip-benchmark"):
        # Published translations give several classes one word; every published figure was made with them.
        repeated = frozenset(name for name, count in Counter(names.classes).items() if count > 1)
    return Prompts(prompt_set.label, names.classes, templates.templates, names.source, templates.source, repeated)


def lookup_keys(dataset: str, task: str = "label") -> list[str]:
    """Names to look a dataset up by, most specific first: `wds/vtab/dtd` -> `wds/vtab/dtd`, `vtab/dtd`, `dtd`."""
    keys = [dataset]
    for prefix in ("wds/", "vtab/"):
        if keys[-1].startswith(prefix):
            keys.append(keys[-1].removeprefix(prefix))
    return keys if task == "label" else [f"{key}/{task}" for key in keys]


def refuse_repeats(names: Sequence[str], source: str, *, allowed: frozenset[str] = frozenset()) -> None:
    """Raise `StructureError` when a class name stands twice, with both places counted from line 1."""
    twice = [name for name, count in Counter(names).items() if count > 1 and name not in allowed]
    if twice:
        lines = [number for number, name in enumerate(names, start=1) if name == twice[0]]
        raise StructureError(
            f"{source}: class name {twice[0]!r} stands on lines {' and '.join(map(str, lines))} of the list. "
            "Two equal ones cannot be told apart. Rename or remove one."
        )


def refuse_slotless(template: str, where: str) -> None:
    """Raise `StructureError` when a template has no place for the class name."""
    if SLOT not in template:
        hint = f" Write {SLOT} for {{}}." if "{}" in template else ""
        raise StructureError(f"{where}: {template!r} has no {SLOT}, so every class would get the same prompt.{hint}")


def _words(place: Source, keys: Sequence[str], prompt_set: PromptSet, own: Task | None, language: str) -> Words:
    if place == "dataset":
        return Words(own.classes, own.templates, own.source or "the dataset") if own is not None else Words()
    if place == "set":
        return next((prompt_set.entries[key] for key in keys if key in prompt_set.entries), Words())
    if place == "open_clip":
        return _imagenet() if any(key in IMAGENET_NAMED for key in keys) else Words()
    found = (_benchmark(key, language) for key in keys)
    return next((words for words in found if words.classes or words.templates), Words())


def _fallback(prompt_set: PromptSet, language: str) -> Words:
    if prompt_set.templates:
        return Words(templates=prompt_set.templates, source=f"prompt set {prompt_set.label}, default")
    other = prompt_set.templates_of
    words = (_words(place, [other], prompt_set, None, language) for place in prompt_set.order)
    found = next((words for words in words if words.templates), Words())
    return Words(templates=found.templates, source=f"{found.source} ({other}'s, as default)")


def _imagenet() -> Words:
    classes, templates, source = imagenet_lists()
    return Words(classes, templates, source)


def _benchmark(key: str, language: str) -> Words:
    classes, templates, source = benchmark_lists(key, language)
    return Words(classes, templates, source)


def _checked(file: YamlFile, place: tuple[str, ...]) -> tuple[str, ...]:
    """Strings of a prompt file, with the file's own line numbers in the messages."""
    strings = file.strings(place)
    seen: dict[str, int] = {}
    for index, entry in enumerate(strings):
        if entry in seen:
            first = file.lines[(*place, seen[entry])]
            raise file.error((*place, index), f"{entry!r} stands twice, first on line {first}. Rename or remove one.")
        seen[entry] = index
        if place[-1] == "templates":
            refuse_slotless(entry, f"{file.name}, line {file.lines[(*place, index)]}")
    return strings
