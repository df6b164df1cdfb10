"""How alike two layers are: exact mutual neighbours, the CKA family, SVCCA, and what chance would have given.

`neighbours` itself lives in `structure.pipeline.similarity.neighbours`, a module of the same name.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from structure.pipeline.similarity.calibration import (
        Calibration,
        Interval,
        bootstrap,
        calibrate,
    )
    from structure.pipeline.similarity.neighbours import Neighbours
    from structure.pipeline.similarity.overlap import cycle_knn, mutual_curve
    from structure.pipeline.similarity.rules import k_of
    from structure.pipeline.similarity.score import METRICS, layer_similarity, mutual_knn
    from structure.pipeline.similarity.stability import Stability, stability
    from structure.pipeline.similarity.tables import neighbour_tables

__all__ = [
    "METRICS",
    "Calibration",
    "Interval",
    "Neighbours",
    "Stability",
    "bootstrap",
    "calibrate",
    "cycle_knn",
    "k_of",
    "layer_similarity",
    "mutual_curve",
    "mutual_knn",
    "neighbour_tables",
    "stability",
]

_HOMES = {
    "METRICS": "score",
    "Calibration": "calibration",
    "Interval": "calibration",
    "Neighbours": "neighbours",
    "Stability": "stability",
    "bootstrap": "calibration",
    "calibrate": "calibration",
    "cycle_knn": "overlap",
    "k_of": "rules",
    "layer_similarity": "score",
    "mutual_curve": "overlap",
    "mutual_knn": "score",
    "neighbour_tables": "tables",
    "stability": "stability",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
