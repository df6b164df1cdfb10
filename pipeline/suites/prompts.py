"""The prompts of one zero-shot task: class names with templates, or texts of each class's own, and their digest."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from structure.store.errors import StructureError

SLOT = "{c}"


@dataclass(frozen=True)
class Prompts:
    """What one task is asked with. It cannot be built invalid: two classes, none twice, every template with `{c}`.

    Every class gets all `templates`; or, where there are `descriptions`, the texts of its own at its place there (as
    CuPL's, Pratt et al. 2023) and there are no templates. `digest` covers names and texts in their order, so equal
    digests mean equal questions.
    """

    prompt_set: str
    classes: tuple[str, ...]
    templates: tuple[str, ...]
    classes_source: str
    templates_source: str
    repeated: frozenset[str] = frozenset()
    descriptions: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise StructureError(
                f"{self.classes_source}: {len(self.classes)} class name(s). With fewer than 2 every answer is right "
                "and the number says nothing. Add the other classes."
            )
        refuse_repeats(self.classes, self.classes_source, allowed=self.repeated)
        if self.descriptions:
            self._require_described()
        elif not self.templates:
            raise StructureError(
                f"{self.templates_source}: no template. Give at least one, such as 'a photo of a {SLOT}.'"
            )
        for number, template in enumerate(self.templates, start=1):
            refuse_slotless(template, f"{self.templates_source}, template {number}")

    def _require_described(self) -> None:
        if self.templates or len(self.descriptions) != len(self.classes):
            raise ValueError("descriptions are one tuple of texts a class, and take the place of templates")
        bare = [name for name, texts in zip(self.classes, self.descriptions, strict=True) if not texts]
        if bare:
            raise StructureError(
                f"{self.templates_source}: no description of {len(bare)} of {len(self.classes)} classes, first "
                f"{bare[0]!r}. A class without a text can never be chosen. Add one text at least for each."
            )

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the JSON list [class names, templates or descriptions]."""
        words = json.dumps([self.classes, self.descriptions or self.templates], ensure_ascii=False)
        return hashlib.sha256(words.encode()).hexdigest()

    def by_class(self) -> list[list[str]]:
        """The texts of each class."""
        if self.descriptions:
            return [list(texts) for texts in self.descriptions]
        return [[template.replace(SLOT, name) for template in self.templates] for name in self.classes]

    def texts(self) -> list[str]:
        """Every prompt, class by class."""
        return [text for texts in self.by_class() for text in texts]

    def counts(self) -> list[int]:
        """How many prompts each class has."""
        return [len(texts) for texts in self.by_class()]

    def provenance(self) -> dict[str, Any]:
        """What a result records about its prompts; JSON values."""
        own = {"descriptions": sum(self.counts())} if self.descriptions else {"templates": len(self.templates)}
        return {
            "prompt_set": self.prompt_set,
            "prompts_digest": self.digest,
            "classes": len(self.classes),
            **own,
            "classes_source": self.classes_source,
            "templates_source": self.templates_source,
        }


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
