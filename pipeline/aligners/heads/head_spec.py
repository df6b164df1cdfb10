"""A head that is still to be made, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class HeadSpec:
    """`kind` among `HEADS`, width of the shared space, and what its constructor takes besides the two widths."""

    kind: str
    dim: int
    settings: Mapping[str, Any] = field(default_factory=dict)
