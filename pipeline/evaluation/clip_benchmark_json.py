"""Results in CLIP_benchmark's JSON schema and file names, so that `clip_benchmark build` reads them. Strict JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

from structure.store.errors import DamageError, StructureError
from structure.store.files import Files, plain_name

KEYS = ("dataset", "model", "pretrained", "task", "metrics", "language")


@dataclass(frozen=True)
class Record:
    """All metrics of one model on one dataset and task, as CLIP_benchmark writes them (fractions).

    `dataset` keeps its prefix (`wds/vtab/cifar10`). A metric may be NaN (acc5 below five classes): it is `null` in the
    file, because NaN is no JSON. An infinite metric raises `StructureError`.
    """

    dataset: str
    model: str
    pretrained: str
    task: str
    metrics: Mapping[str, float]
    language: str = "en"

    def __post_init__(self) -> None:
        endless = [name for name, value in self.metrics.items() if math.isinf(value)]
        if endless:
            raise StructureError(f"{self.dataset}: metric {endless[0]} is infinite. That is a fault, not a result.")

    @property
    def file_name(self) -> str:
        """`{dataset}_{pretrained}_{model}_{language}_{task}.json`: `wds/` dropped from the dataset, `/` becomes `_`."""
        dataset = self.dataset.removeprefix("wds/")
        name = f"{dataset}_{self.pretrained}_{self.model}_{self.language}_{self.task}"
        return plain_name(name) + ".json"

    def to_json(self) -> str:
        """The document, one line with its end, keys in CLIP_benchmark's order."""
        metrics = {name: None if math.isnan(value) else float(value) for name, value in self.metrics.items()}
        return json.dumps({**{key: getattr(self, key) for key in KEYS}, "metrics": metrics}, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, *, name: str) -> Record:
        """Read a document back, ours or CLIP_benchmark's own (its bare NaN included); `null` is NaN again.

        A truncated or foreign document raises `DamageError` that says `name`.
        """
        try:
            read = json.loads(text)
            metrics = {key: math.nan if value is None else float(value) for key, value in read["metrics"].items()}
            return cls(**{**{key: read[key] for key in KEYS}, "metrics": metrics})
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DamageError(
                f"{name} is no result of CLIP_benchmark's schema ({type(error).__name__}: {error}). It may be cut "
                "short. Remove it and evaluate again."
            ) from error


def read_records(folder: Files) -> list[Record]:
    """Every `.json` of a folder, by file name. Raises `DamageError` at the first that is no result."""
    names = [key for key in folder.keys("") if key.endswith(".json") and "/" not in key]
    return [Record.from_json(folder.read(name).decode(errors="replace"), name=f"{folder}/{name}") for name in names]
