"""How labelled data that join the pairs are named."""

from __future__ import annotations

from dataclasses import dataclass

from structure.store.errors import StructureError


@dataclass(frozen=True)
class Labelled:
    """`dataset` is what `--dataset` would take; `per_class` samples of each class at most."""

    dataset: str
    per_class: int

    @classmethod
    def parse(cls, text: str) -> Labelled:
        """`DATASET:K`. Raises StructureError."""
        dataset, colon, count = text.rpartition(":")
        if not colon or not count.isdigit() or int(count) < 1:
            raise StructureError(
                f"--add {text!r}: write DATASET:K, K labelled samples of each class, such as flowers:5."
            )
        return cls(dataset, int(count))
