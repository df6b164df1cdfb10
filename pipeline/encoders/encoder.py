"""What every encoder is: a frozen model whose layers have names, read in one forward pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from structure.pipeline.encoders.pooling import Pooling, pool

Modality = Literal["vision", "text"]


@dataclass(frozen=True)
class Layer:
    """A readable point of the network.

    `form`: "tokens" is (batch, token, width), "map" is (batch, width, height, width_px), "vector" is (batch, width).
    A vector needs no pooling and has no variants.
    """

    name: str
    width: int
    form: Literal["tokens", "map", "vector"]


@dataclass(frozen=True)
class Hidden:
    """One layer's output for one batch.

    `values`: (batch, token, width), (batch, channel, height, width) or (batch, width), on the encoder's device.
    `mask`: (batch, token) bool, True = real token; None = all real.
    `prefix`: how many leading tokens are not patches (CLS and registers) in a vision transformer.
    `grid`: (height, width) of the patch tokens, None for text.
    """

    values: torch.Tensor
    mask: torch.Tensor | None = None
    prefix: int = 0
    grid: tuple[int, int] | None = None


Visitor = Callable[[str, Hidden], None]


class Encoder(ABC):
    """A frozen model. `layers` are in order of depth; `name` is safe as a folder name.

    `provenance` says everything that determines the values besides the data: `source`, `revision`, `weights`
    (digest), `preprocessing` (digest or plain values), `library` (name and version), `precision`. All JSON values.
    """

    name: str
    modality: Modality
    layers: tuple[Layer, ...]
    default_pooling: Pooling
    provenance: Mapping[str, Any]
    preprocess: Callable[[Any], Any]
    """Picklable, runs in worker processes: PIL image -> (3, H, W) float tensor; str -> list of token ids."""

    @abstractmethod
    def forward(self, examples: Sequence[Any], visit: Visitor, *, wanted: frozenset[str]) -> None:
        """One forward pass over preprocessed examples; calls `visit(name, hidden)` once for each wanted layer."""

    @torch.inference_mode()
    def encode(
        self, examples: Sequence[Any], *, pooling: Sequence[Pooling] | None = None, layers: Sequence[str] | None = None
    ) -> dict[str, torch.Tensor]:
        """Pooled features of every layer asked for, `{column: (batch, width) float32}` on the encoder's device.

        With one pooling the column is the layer's name; with several it is `layer@pooling`. Vector layers have no
        variants. Each layer is pooled as soon as it appears, so that hidden states do not pile up.
        """
        kinds = tuple(pooling) if pooling else (self.default_pooling,)
        forms = {layer.name: layer.form for layer in self.layers}
        wanted = frozenset(layers if layers is not None else forms)
        out: dict[str, torch.Tensor] = {}

        def visit(name: str, hidden: Hidden) -> None:
            if forms[name] == "vector":
                out[name] = hidden.values.float()
                return
            for kind in kinds:
                out[column(name, kind, kinds)] = pool(hidden.values, kind, mask=hidden.mask)

        self.forward(examples, visit, wanted=wanted)
        return out

    def columns(self, pooling: Sequence[Pooling], layers: Sequence[str]) -> dict[str, int]:
        """Column name -> width, in order of depth, of what `encode` returns for these options."""
        chosen = [layer for layer in self.layers if layer.name in set(layers)]
        named: dict[str, int] = {}
        for layer in chosen:
            for kind in pooling if layer.form != "vector" else pooling[:1]:
                name = layer.name if layer.form == "vector" else column(layer.name, kind, pooling)
                named[name] = layer.width
        return named


def column(layer: str, kind: Pooling, kinds: Sequence[Pooling]) -> str:
    """The stored name of a pooled layer: `block.03`, or `block.03@mean` when several poolings are kept."""
    return layer if len(kinds) == 1 else f"{layer}@{kind}"
