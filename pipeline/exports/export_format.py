"""What a format of export says of itself: everything that help, README and the stage ask of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from structure.pipeline.aligners.aligner import Aligner
    from structure.pipeline.results import Result


@dataclass(frozen=True)
class LabelPrompts:
    """How the classes of a zero-shot label are worded: each of `classes` put into each of `templates` at `{c}`."""

    classes: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExportSubject:
    """What is taken elsewhere: an aligner of the store by its `name`, with the `results` of its evaluations.

    `trust_remote_code` lets the code of an encoder run. `labels`: prompts that go with it, where a format has a place
    for them.
    """

    name: str
    aligner: Aligner
    results: Sequence[Result] = ()
    trust_remote_code: bool = False
    labels: LabelPrompts = field(default_factory=LabelPrompts)


@dataclass(frozen=True)
class Written:
    """What a format wrote. `facts`: JSON values for the caller. `usage`: Python that loads it, run in the folder; five
    lines at most. `notes`: sentences on how the folder is used and what it cannot do, in Markdown."""

    facts: Mapping[str, Any]
    usage: str
    notes: Sequence[str] = ()


class ExportFormat(ABC):
    """One form in which other programs read an aligned model. Its file imports no torch: help is read from it before
    anything heavy is loaded."""

    about: ClassVar[str]
    """What other program reads it, one sentence for help and documents."""

    takes_labels: ClassVar[bool] = False
    """Whether there is a place for the prompts of labels in it."""

    contents: ClassVar[Mapping[str, str]]
    """What each file is, by a pattern of its path, the first that fits; plain text for the README."""

    @abstractmethod
    def write(self, subject: ExportSubject, folder: Path) -> Written:
        """Write the files into a new folder; the README is not among them.

        Raises `StructureError`, with what to use instead, for what the format cannot express exactly.
        """
