"""What is read from an encoder: a layer and its form. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Modality = Literal["vision", "audio", "text"]
"""What an encoder reads: a sample's image or audio clip, or its captions. Where two sides are paired, the side that is
called vision takes images or audio clips."""

Form = Literal["tokens", "map", "vector"]


@dataclass(frozen=True)
class Layer:
    """A readable point of the network.

    `form`: "tokens" is (batch, token, width), "map" is (batch, width, height, width_px), "vector" is (batch, width).
    A vector needs no pooling and has no variants.

    Names, in order of depth: `embed` is the input of the first block; `block.00` ... the raw output of each block (the
    residual stream before any final norm, for the last block too, whatever a library calls its last hidden state);
    `final_norm` the last block's tokens after the model's final norm, where it has one; `pooled` the vector that the
    model itself makes (pooler, projection or pre-logits), where it has one.
    """

    name: str
    width: int
    form: Form


def block_name(index: int) -> str:
    """`block.00`, `block.01`, ...; the output of that block."""
    return f"block.{index:02d}"
