"""Frozen encoders whose layers have names: `load_encoder`, `describe`, `catalogue`. Importing loads no library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from structure.pipeline.encoders.catalogue import Alias, catalogue
from structure.pipeline.encoders.layer import Layer
from structure.pipeline.encoders.loading import Description, describe, load_encoder
from structure.pipeline.encoders.model_names import parse_spec
from structure.pipeline.encoders.pooling import POOLINGS, Pooling

if TYPE_CHECKING:
    from structure.pipeline.encoders.encoder import Encoder, Hidden

__all__ = [
    "POOLINGS",
    "Alias",
    "Description",
    "Encoder",
    "Hidden",
    "Layer",
    "Pooling",
    "catalogue",
    "describe",
    "load_encoder",
    "parse_spec",
]


def __getattr__(name: str) -> Any:
    if name in ("Encoder", "Hidden"):
        from structure.pipeline.encoders import encoder

        return getattr(encoder, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
