"""A vision encoder that reads videos: each of K frames as an image, their features averaged, or kept as K tokens."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch

from structure.pipeline.encoders.encoder import Encoder, Hidden, LayerTokens, Visitor, column, layer_tokens
from structure.pipeline.encoders.pooling import Pooling
from structure.store.errors import StructureError

SAMPLING: dict[str, Any] = {"at": "centres of segments of equal duration", "version": 1}
"""Which frames are read, for the fingerprint: `datasets/decode_video.py` chooses them."""

Frames = tuple[torch.Tensor, ...]
"""The preprocessed frames of a video, each (3, height, width)."""


class FramesPreprocess:
    """The images' own preprocessing of each frame; picklable. An image is a video of one frame."""

    def __init__(self, preprocess: Callable[[Any], torch.Tensor]) -> None:
        self.preprocess = preprocess

    def __call__(self, frames: Any) -> Frames:
        return tuple(map(self.preprocess, frames if isinstance(frames, Iterable) else (frames,)))


class FramesEncoder(Encoder):
    """`encoder` over `frames` frames of a video.

    A layer's feature is the mean over the frames of what the encoder gives for each as an image, pooled as there; its
    tokens are these same vectors, one a frame, in order of time (with several poolings, of the first). An image counts
    as a video that shows it all the time.
    """

    def __init__(self, encoder: Encoder, frames: int) -> None:
        if encoder.modality != "vision":
            raise StructureError(
                f"{encoder.name} reads {'texts' if encoder.modality == 'text' else 'audio clips'}: ?frames has no "
                "effect there. Leave it out."
            )
        self.encoder, self.frames = encoder, frames
        self.name, self.modality, self.layers = encoder.name, encoder.modality, encoder.layers
        self.default_pooling, self.poolings, self.notes = encoder.default_pooling, encoder.poolings, encoder.notes
        self.provenance = {**encoder.provenance, "frames": {"count": frames, **SAMPLING}}
        self.preprocess = FramesPreprocess(encoder.preprocess)

    @property
    def parameters(self) -> int:
        return self.encoder.parameters

    @property
    def input_size(self) -> int:
        return self.encoder.input_size

    @property
    def token_layers(self) -> tuple[str, ...]:
        """Every layer has a vector a frame."""
        return tuple(layer.name for layer in self.layers)

    def forward(self, examples: Sequence[Frames], visit: Visitor, *, wanted: Container[str]) -> None:
        """All frames as images, one batch."""
        self.encoder.forward([frame for frames in examples for frame in frames], visit, wanted=wanted)

    def encode_tokens(
        self,
        examples: Sequence[Frames],
        tokens: Mapping[str, torch.dtype],
        *,
        pooling: Sequence[Pooling] | None = None,
        layers: Sequence[str] | None = None,
    ) -> tuple[dict[str, torch.Tensor], dict[str, LayerTokens]]:
        kinds = tuple(pooling) if pooling else (self.default_pooling,)
        pooled = [layer.name for layer in self.layers] if layers is None else list(layers)
        read = list(dict.fromkeys([*pooled, *tokens]))
        vectors = self.encoder.encode([frame for frames in examples for frame in frames], pooling=kinds, layers=read)
        ends = list(accumulate(map(len, examples)))
        starts = [0, *ends[:-1]]
        means = {
            name: torch.stack([vectors[name][start:end].mean(dim=0) for start, end in zip(starts, ends, strict=True)])
            for name in self.columns(kinds, pooled)
        }
        return means, {layer: self._tokens(vectors, layer, kinds, starts, dtype) for layer, dtype in tokens.items()}

    def _tokens(
        self,
        vectors: Mapping[str, torch.Tensor],
        layer: str,
        kinds: Sequence[Pooling],
        starts: Sequence[int],
        dtype: torch.dtype,
    ) -> LayerTokens:
        """(examples x frames, width): the vectors of each example's frames, an image's repeated."""
        rows = vectors.get(column(layer, kinds[0], kinds), vectors.get(layer))
        assert rows is not None
        ends = [*starts[1:], len(rows)]
        each = [
            rows[a:b].expand(self.frames, -1) if b - a == 1 else rows[a:b] for a, b in zip(starts, ends, strict=True)
        ]
        return layer_tokens(Hidden(torch.stack(each)), dtype)
