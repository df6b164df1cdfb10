"""The keyword options of `rank_layers` and `rank_models`: how to rank, and where and within what to compute."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TypedDict

from structure.pipeline.device import resolve_device
from structure.pipeline.progress import Listener, silent
from structure.pipeline.ranking.options import Count, Preset, RankingOptions
from structure.pipeline.similarity.knn.neighbours import MEMORY
from structure.pipeline.similarity.knn.tables import Compute


@dataclass(frozen=True)
class Running:
    """Where and within what a ranking computes; nothing of it changes a score. `device` "auto" takes a GPU if there is
    one."""

    device: str = "auto"
    memory: int = MEMORY
    compute: Compute | None = None
    on_event: Listener = silent

    def __post_init__(self) -> None:
        object.__setattr__(self, "device", resolve_device(self.device))


class RankingFlags(TypedDict, total=False):
    """What `rank_layers` and `rank_models` both take: the fields of `RankingOptions` and of `Running`."""

    metric: str
    preset: Preset
    k: int | str | None
    samples: Count | None
    seed: int
    calibrate: int | None
    repeats: int
    device: str
    memory: int
    compute: Compute | None
    on_event: Listener


def settled(flags: RankingFlags) -> tuple[RankingOptions, Running]:
    """How to rank, and where. Raises TypeError for a flag that neither has."""
    where = {name: value for name, value in flags.items() if name in {field.name for field in fields(Running)}}
    how = {name: value for name, value in flags.items() if name not in where}
    return RankingOptions(**how), Running(**where)  # type: ignore[arg-type]
