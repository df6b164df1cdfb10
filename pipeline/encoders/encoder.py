"""What every encoder is: a frozen model whose layers have names, read in one forward pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from structure.pipeline.encoders.layer import Layer, Modality
from structure.pipeline.encoders.pooling import POOLINGS, Pooling, pool
from structure.store.errors import StructureError, unknown

__all__ = ["Encoder", "Hidden", "Layer", "LayerTokens", "Modality", "Visitor", "column", "layer_tokens"]


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


@dataclass(frozen=True)
class LayerTokens:
    """All real tokens of one layer for one batch: `values` (tokens, width), row after row, `lengths` (batch,) each.

    `prefix` and `grid` as in `Hidden`; a feature map is its pixels in rows, without a prefix.
    """

    values: torch.Tensor
    lengths: Sequence[int]
    prefix: int = 0
    grid: tuple[int, int] | None = None


Visitor = Callable[[str, Hidden], None]


class Encoder(ABC):
    """A frozen model. `layers` are in order of depth; `name` is safe as a folder name.

    `provenance` says everything that determines the values besides the data, all JSON values: `source` (library and
    model, independent of where its folder lies), `revision`, `weights` (digest), `preprocessing`, `tokenizer` (digest,
    text only), `precision`, `libraries` (versions), `location` (for people: where the weights were read), `dropped`
    (layers that the checkpoint has no weights for, with the reason).

    `limit` is the most tokens a text may have; None for vision, and for a text model without a limit.
    """

    name: str
    modality: Modality
    layers: tuple[Layer, ...]
    default_pooling: Pooling
    poolings: tuple[Pooling, ...] = tuple(POOLINGS)
    provenance: Mapping[str, Any]
    limit: int | None = None
    frames: int = 1
    """How many frames of a video it reads; 1 for an encoder of images, which reads the middle one."""
    notes: tuple[str, ...] = ()
    """What of the model is not read, for people."""
    preprocess: Callable[[Any], Any]
    """Picklable, runs in worker processes: PIL image -> (3, H, W) float32 tensor; str -> `Tokens` (a list of ids);
    `AudioClip` -> `Wave`."""

    @property
    def parameters(self) -> int:
        """How many parameters the loaded part of the model has; 0 where that is not known."""
        return 0

    @property
    def input_size(self) -> int:
        """Side of the square image in pixels, or the most tokens of a text; 0 where there is no limit."""
        return self.limit or 0

    @property
    def token_layers(self) -> tuple[str, ...]:
        """Names of the layers whose tokens can be saved, in order of depth."""
        return tuple(layer.name for layer in self.layers if layer.form != "vector")

    @property
    def too_long(self) -> str:
        """What examples were that had to be cut, in words."""
        return f"texts were longer than {self.limit} tokens"

    @abstractmethod
    def forward(self, examples: Sequence[Any], visit: Visitor, *, wanted: Container[str]) -> None:
        """One forward pass over preprocessed examples; calls `visit(name, hidden)` once for each wanted layer."""

    def encode(
        self, examples: Sequence[Any], *, pooling: Sequence[Pooling] | None = None, layers: Sequence[str] | None = None
    ) -> dict[str, torch.Tensor]:
        """Pooled features of every layer asked for, `{column: (batch, width) float32}` on the encoder's device.

        With one pooling the column is the layer's name; with several it is `layer@pooling`. Vector layers have no
        variants. Each layer is pooled as soon as it appears, so that hidden states do not pile up. Raises
        `StructureError` for a layer or a pooling that this encoder does not have.
        """
        return self.encode_tokens(examples, {}, pooling=pooling, layers=layers)[0]

    def encode_tokens(
        self,
        examples: Sequence[Any],
        tokens: Mapping[str, torch.dtype],
        *,
        pooling: Sequence[Pooling] | None = None,
        layers: Sequence[str] | None = None,
    ) -> tuple[dict[str, torch.Tensor], dict[str, LayerTokens]]:
        """What `encode` returns, and from the same forward pass the tokens of some layers: `{layer: LayerTokens}`.

        `tokens` maps a layer to float16 or float32; where float16 does not hold a value, the layer's values come back
        in float32. Raises `StructureError` as `encode` does.
        """
        kinds = tuple(pooling) if pooling else (self.default_pooling,)
        names = [layer.name for layer in self.layers] if layers is None else list(layers)
        columns = self.columns(kinds, names)
        pooled = frozenset(names)
        forms = {layer.name: layer.form for layer in self.layers}
        out: dict[str, torch.Tensor] = {}
        token_rows: dict[str, LayerTokens] = {}

        def visit(name: str, hidden: Hidden) -> None:
            if name in tokens:
                token_rows[name] = layer_tokens(hidden, tokens[name])
            if name not in pooled:
                return
            if forms[name] == "vector":
                out[name] = hidden.values.float()
                return
            for kind in kinds:
                out[column(name, kind, kinds)] = pool(hidden.values, kind, mask=hidden.mask, prefix=hidden.prefix)

        with torch.inference_mode():
            self.forward(examples, visit, wanted=pooled | frozenset(tokens))
        device = next((values.device for values in out.values()), None)  # one of several where a model is spread
        return {name: out[name].to(device) for name in columns}, token_rows

    def columns(self, pooling: Sequence[Pooling], layers: Sequence[str]) -> dict[str, int]:
        """Column name -> width, in order of depth, of what `encode` returns for these options.

        Raises `StructureError` for a layer or a pooling that this encoder does not have.
        """
        known = [layer.name for layer in self.layers]
        for name in layers:
            if name not in known:
                raise unknown("layer", name, known, hint=f"{self.name} has {len(known)} layers.")
        chosen = [layer for layer in self.layers if layer.name in set(layers)]
        for kind in pooling:
            if kind not in POOLINGS and kind == self.default_pooling:
                raise StructureError(
                    f"{self.name} was trained to be pooled by {kind}, which is not done here: any other pooling would "
                    f"give other features than its own. Pass --pool mean, or another of {', '.join(self.poolings)}, if "
                    "that is meant."
                )
            if kind not in POOLINGS:
                raise unknown("pooling", kind, POOLINGS)
            if kind not in self.poolings and any(layer.form != "vector" for layer in chosen):
                raise StructureError(
                    f"{self.name} cannot be pooled with {kind!r}: its layers have no such token, so the features would "
                    f"mean something else. Pass --pool {','.join(self.poolings)} or one of them."
                )
        named: dict[str, int] = {}
        for layer in chosen:
            for kind in pooling if layer.form != "vector" else pooling[:1]:
                name = layer.name if layer.form == "vector" else column(layer.name, kind, pooling)
                named[name] = layer.width
        return named


def column(layer: str, kind: Pooling, kinds: Sequence[Pooling]) -> str:
    """The stored name of a pooled layer: `block.03`, or `block.03@mean` when several poolings are saved."""
    return layer if len(kinds) == 1 else f"{layer}@{kind}"


def layer_tokens(hidden: Hidden, dtype: torch.dtype) -> LayerTokens:
    """All real tokens of a layer in `dtype`, in float32 where float16 does not hold a value."""
    values, grid = hidden.values, hidden.grid
    if values.ndim == 4:
        grid = (values.shape[2], values.shape[3])
        values = values.flatten(2).transpose(1, 2)
    rows, longest, width = values.shape
    if hidden.mask is None:
        lengths, flat = [longest] * rows, values.reshape(rows * longest, width)
    else:
        mask = hidden.mask.to(torch.bool)
        lengths, flat = mask.sum(dim=1).tolist(), values[mask]
    # A copy in any case: a network may go on to change its hidden states in place.
    stored = flat.to(dtype, copy=True)
    if dtype == torch.float16 and not bool(stored.isfinite().all()):
        stored = flat.float()
    return LayerTokens(stored, lengths, hidden.prefix, grid)
