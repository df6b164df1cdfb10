"""What a kind of dataset says of itself: how it is named, its splits, where it is, how to get it, how it opens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from structure.pipeline.datasets.dataset import Dataset
from structure.pipeline.progress import Listener
from structure.store.errors import StructureError


@dataclass(frozen=True)
class Listing:
    """One line of `structure datasets`. `present` is None where that depends on the path in the name; `splits` are the
    ones that are there, or all that there can be where nothing is."""

    name: str
    summary: str
    splits: tuple[str, ...]
    default_split: str
    present: bool | None
    where: str
    how: str

    def row(self) -> dict[str, Any]:
        """The fields as a JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class Got:
    """`splits` that are there now, `folder` where; `fetched` files were downloaded, none of them when all was there."""

    name: str
    folder: Path
    splits: tuple[str, ...]
    fetched: tuple[str, ...]


class DatasetKind(ABC):
    """What is known of the datasets whose names begin with one word. Importing the class imports no image library.

    `form`: how such a name is written, as shown in lists and errors. `argument`: whether something follows the colon.
    `summary`, `how`: what it is and how to get it, for people. `splits`: all that there can be; `default_split`: the
    one that is opened unless another is asked for. `options`: what may stand behind a question mark, with its meaning.
    """

    form: str
    summary: str
    how: str
    argument: Literal["none", "optional", "required"] = "required"
    splits: Sequence[str] = ("all", "train", "val", "test")
    default_split: str = "all"
    options: Mapping[str, str] = {}

    def __init__(self, name: str) -> None:
        self.name = name
        """The key in `DATASET_KINDS`: what stands before the colon."""
        self.given: Mapping[str, tuple[str, ...]] = {}
        """The options of this name, each with its values; a key of `options` each."""

    @abstractmethod
    def open(self, argument: str, *, split: str | None, data_root: Path, seed: int) -> Dataset:
        """The dataset; `argument` is what follows the colon, "" for nothing. Arguments and errors as of
        `open_dataset`."""

    def option(self, name: str) -> str | None:
        """The value of an option that may be given once; None where it was not. Raises `StructureError` for two."""
        values = self.given.get(name, ())
        if len(values) > 1:
            raise StructureError(f"The option {name} of {self.form} is given {len(values)} times; it has one value.")
        return values[0] if values else None

    def listings(self, data_root: Path) -> list[Listing]:
        """Its lines of `structure datasets`. Looks at names of files only."""
        return [Listing(self.form, self.summary, tuple(self.splits), self.default_split, None, "", self.how)]

    def gettable(self) -> tuple[str, ...]:
        """The full names that `get` can download."""
        return ()

    def get(self, argument: str, *, data_root: Path, on_event: Listener) -> Got:
        """Download what the data need, check and unpack it. Raises as `get_dataset`."""
        raise StructureError(f"{self.name} is read from where it lies; there is nothing to download.")
