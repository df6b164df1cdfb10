"""What an evaluation says: flat rows, each number with its interval, its count and the level of chance."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Result:
    """One number. Values are fractions, not percent; `low` and `high` bound the 95 % interval; `n` counts the samples.

    `chance` is the expected value of a random guess, None where it has no closed form.
    `provenance` holds what the number was made from (prompt set and its digest, split, protocol, fingerprints).
    """

    aligner: str
    suite: str
    dataset: str
    task: str
    metric: str
    value: float
    low: float
    high: float
    n: int
    chance: float | None
    provenance: dict[str, Any]

    def row(self) -> dict[str, Any]:
        """The flat fields as a JSON object, without provenance."""
        flat = asdict(self)
        flat.pop("provenance")
        return flat
