"""Where and within what a ranking computes."""

from __future__ import annotations

from dataclasses import dataclass

from structure.pipeline.device import resolve_device
from structure.pipeline.progress import Listener, silent
from structure.pipeline.similarity.knn.neighbour_tables import Compute
from structure.pipeline.similarity.knn.neighbours import MEMORY


@dataclass(frozen=True)
class ComputeSettings:
    """Where and within what a ranking computes; nothing of it changes a score. `device` "auto" takes a GPU if there is
    one."""

    device: str = "auto"
    memory: int = MEMORY
    compute: Compute | None = None
    on_event: Listener = silent

    def __post_init__(self) -> None:
        object.__setattr__(self, "device", resolve_device(self.device))
