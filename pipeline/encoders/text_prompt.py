"""A text that is put before every text, where a checkpoint was trained with such prompts (query, passage)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from structure.store.errors import StructureError, UsageError, unknown

PROMPT_OPTIONS = ("prompt",)
NO_PROMPT_NAME = "none"
"""Asks for no prompt where the checkpoint puts one before every text by default."""


@dataclass(frozen=True)
class TextPrompt:
    """`name`: one of the prompts in the checkpoint's config_sentence_transformers.json, "none" for no prompt; "" leaves
    it to the checkpoint."""

    name: str = ""

    def __str__(self) -> str:
        return f"prompt={self.name}" if self.name else ""

    def __bool__(self) -> bool:
        return bool(self.name)

    @property
    def suffix(self) -> str:
        """What tells features with this prompt apart from others in a name: `-query-prompt`."""
        return f"-{self.name}-prompt" if self.name else ""

    def among(self, prompts: Mapping[str, str], default: str, *, name: str) -> str:
        """The text to put before every text. `default`: the name of the checkpoint's own, "" without one.

        Raises StructureError for a name that the checkpoint does not have.
        """
        chosen = self.name or default
        if chosen in ("", NO_PROMPT_NAME):
            return ""
        if chosen not in prompts:
            raise unknown(f"prompt of {name}", chosen, prompts, hint="Leave ?prompt out for its own way.")
        return prompts[chosen]


CHECKPOINTS_OWN = TextPrompt()


def read_prompt(options: Mapping[str, str], *, spec: str) -> TextPrompt:
    """`{"prompt": "query"}` as a value. Raises UsageError for one that no folder could be named after."""
    name = options.get("prompt", "")
    if "prompt" in options and not re.fullmatch(r"\w[\w.-]*", name, flags=re.ASCII):
        raise UsageError(
            f"{spec!r}: prompt is {name!r}; name one of the checkpoint's prompts (`structure models` lists them), or "
            f"{NO_PROMPT_NAME}."
        )
    return TextPrompt(name)


def refuse_prompt(prompt: TextPrompt, *, name: str) -> None:
    """Raise StructureError where a prompt is asked of a model that reads no text."""
    if prompt:
        raise StructureError(f"{name} reads no texts: ?{prompt} has no effect there. Leave it out.")
