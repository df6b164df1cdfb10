"""An encoder library of another package: `toy:pixels` reads images, `toy:letters` reads texts."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

import numpy as np
import torch

from structure.pipeline.encoders.encoder import Encoder, Hidden, Layer, Visitor
from structure.pipeline.encoders.library import EncoderLibrary
from structure.pipeline.encoders.precision import Amp
from structure.pipeline.encoders.spec import Spec
from structure.store.errors import unknown

SIDE = 8


def shrink(image: Any) -> torch.Tensor:
    """(3, 8, 8) float32 in [0, 1]."""
    return torch.from_numpy(np.asarray(image.resize((SIDE, SIDE)), dtype=np.float32) / 255).permute(2, 0, 1)


def letters(text: str) -> list[int]:
    """Code points of a text, at most 127, the ends marked by 0."""
    return [0, *(min(ord(letter), 127) for letter in text), 0]


class ToyEncoder(Encoder):
    """Two layers of vectors: features as counted, and the same after a fixed random map."""

    default_pooling = "mean"

    def __init__(self, model: str) -> None:
        self.name = f"toy-{model}"
        self.modality = "vision" if model == "pixels" else "text"
        width = 3 * SIDE * SIDE if model == "pixels" else 128
        self.layers = (Layer("embed", width, "vector"), Layer("pooled", 16, "vector"))
        self.preprocess = shrink if model == "pixels" else letters
        self.provenance = {"source": f"toy:{model}", "weights": "fixed", "precision": "float32"}
        self._map = torch.randn(width, 16, generator=torch.Generator().manual_seed(0))

    def forward(self, examples: Sequence[Any], visit: Visitor, *, wanted: Container[str]) -> None:
        if self.modality == "vision":
            rows = torch.stack([example.flatten() for example in examples])
        else:
            rows = torch.stack([torch.bincount(torch.tensor(ids), minlength=128).float() for ids in examples])
        for name, values in (("embed", rows), ("pooled", rows @ self._map)):
            if name in wanted:
                visit(name, Hidden(values))


class ToyLibrary(EncoderLibrary):
    """`spec.model` is pixels or letters."""

    form = "toy:pixels"

    def parse(self, spec: Spec) -> Spec:
        if spec.model not in self.known_names():
            raise unknown("toy model", spec.model, self.known_names())
        return spec

    def known_names(self) -> tuple[str, ...]:
        return ("pixels", "letters")

    def load(
        self, spec: Spec, *, device: torch.device, amp: Amp, revision: str | None, trust_remote_code: bool
    ) -> Encoder:
        return ToyEncoder(spec.model)
