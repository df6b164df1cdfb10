"""One half of an aligned model that runs outside the store: an encoder, the layers that the head reads, the head."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from structure.pipeline.aligners.aligner import Aligner
from structure.pipeline.aligners.padded import Ragged
from structure.pipeline.device import few_threads
from structure.pipeline.encoders.encoder import Encoder
from structure.pipeline.encoders.pooling import Pooling
from structure.pipeline.extraction.stored_or_extracted import EncoderRecord, require_encoder
from structure.store.errors import NotPresentError, StructureError
from structure.store.joined_rows import SIGN

Which = Literal["vision", "text"]
WHICH: tuple[Which, ...] = get_args(Which)


@dataclass(frozen=True)
class ExportedSide:
    """Embeds what the encoder's `preprocess` makes of images or texts."""

    which: Which
    encoder: Encoder
    record: EncoderRecord
    columns: tuple[tuple[str, Pooling], ...]
    """The layers that the head reads side by side, one for most, with the pooling of each."""
    aligner: Aligner

    @property
    def layer(self) -> str:
        """The first layer."""
        return self.columns[0][0]

    @property
    def pooling(self) -> Pooling:
        """The pooling of the first layer."""
        return self.columns[0][1]

    def embed(self, examples: Sequence[Any]) -> torch.Tensor:
        """(len(examples), dim) float32 unit rows on the encoder's device."""
        head = self.aligner.embed_images if self.which == "vision" else self.aligner.embed_texts
        with few_threads(self.encoder.parameters, len(examples)):
            embeddings: torch.Tensor = head(self._read(examples))  # type: ignore[assignment]
        return embeddings

    def _read(self, examples: Sequence[Any]) -> Any:
        """What the head takes: pooled layers, or tokens."""
        if not self.aligner.takes_tokens:
            return self._features(examples)
        read = self.encoder.encode_tokens(examples, {self.layer: torch.float32}, layers=())[1][self.layer]
        return Ragged(read.values, torch.tensor([0, *read.lengths]).cumsum(0), read.prefix)

    def _features(self, examples: Sequence[Any]) -> torch.Tensor:
        """(len(examples), widths together): pooled layers side by side, of any length."""
        poolings = tuple(dict.fromkeys(pooling for _, pooling in self.columns))
        names = list(dict.fromkeys(name for name, _ in self.columns))
        read = self.encoder.encode(examples, pooling=poolings, layers=names)
        # With several poolings a column has its own in its name, but for vectors, which are not pooled.
        parts = [read.get(f"{name}@{pooling}", read.get(name)) for name, pooling in self.columns]
        return torch.cat([part for part in parts if part is not None], dim=1)


def load_side(aligner: Aligner, which: Which, *, device: str = "cpu", trust_remote_code: bool = False) -> ExportedSide:
    """The half that the aligner's record names, its encoder loaded in float32.

    Raises `NotPresentError` for an encoder that is not here or was imported, `FingerprintError` where the one that
    loads is not the one that the aligner was trained on, `StructureError` for an aligner without record of encoders.
    """
    encoders = aligner.metadata.get("encoders")
    if not encoders:
        raise StructureError(
            "This aligner says nothing of encoders: it was not trained from a store. Only its heads can be exported: "
            "--format safetensors or onnx."
        )
    record = EncoderRecord.from_json(encoders[which])
    if not record.spec:
        raise NotPresentError(
            f"The {which} features {record.name} were imported: no encoder here makes them, so only the heads can be "
            "taken elsewhere. Use --format safetensors or onnx."
        )
    try:
        encoder = record.load(device=device, trust_remote_code=trust_remote_code)
    except NotPresentError as error:
        if not Path(re.split("[:@]", record.spec)[-1]).is_absolute():
            raise
        told = f"{error} The aligner reads {record.name} from there: put it back, or a link to where it is now."
        raise NotPresentError(told) from error
    require_encoder(encoder, record, any_precision=True)
    columns: list[Any] = []
    for part in str(aligner.metadata["layers"][which]).split(SIGN):
        layer, _, kind = part.partition("@")
        columns.append((layer, kind or record.extraction["pooling"][0]))
    return ExportedSide(which, encoder, record, tuple(columns), aligner)
