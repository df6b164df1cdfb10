"""How to extract: what the user may say of a feature set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from structure.pipeline.encoders.pooling import Pooling

Dtype = Literal["auto", "fp16", "fp32"]


@dataclass(frozen=True)
class ExtractionOptions:
    """How to extract. `layers` are globs over layer names, `tokens` globs over those whose tokens are saved besides; no
    `pooling` means the encoder's own; `captions` is how many captions of a sample are encoded (None = all), `views` how
    many views of an image; `batch` None: the size that suits the device; `append` lets a set grow; `name` is the
    encoder's in the store, its own where none is given."""

    layers: tuple[str, ...] = ("*",)
    tokens: tuple[str, ...] = ()
    pooling: tuple[Pooling, ...] = ()
    dtype: Dtype = "auto"
    captions: int | None = 1
    views: int = 1
    batch: int | None = None
    workers: int | None = None
    skip_bad: bool = True
    append: bool = False
    name: str = ""
