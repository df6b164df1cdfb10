"""Audio models of transformers (Wav2Vec2, HuBERT, WavLM, AST, ...): audio clips in, every layer by name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from structure.pipeline.encoders.encoder import LayerTokens
from structure.pipeline.encoders.pooling import Pooling
from structure.pipeline.encoders.torch_encoder import EncodedBatch
from structure.pipeline.encoders.transformers_encoder import TransformersEncoder
from structure.store.errors import BadSampleError, NotPresentError, StructureError

MOST_SECONDS = 30
"""Audio clips are cut after this long: attention over time grows with its square."""

LEAST_SAMPLES = 400
"""Of the model's own rate: the convolutions in front of a Wav2Vec2 see so many before they put out a first vector."""


@dataclass(frozen=True)
class Wave:
    """An audio clip as the model takes it: (samples,) or (frames, bins) float32; `cut` seconds of it were left out."""

    values: torch.Tensor
    cut: float = 0.0

    def __len__(self) -> int:
        return len(self.values)


class AudioPreprocess:
    """A Hugging Face feature extractor as a picklable function: an audio clip (`samples`, `rate`) -> `Wave`.

    The audio clip is resampled to the model's own rate (polyphase filter) and cut after `MOST_SECONDS`.
    """

    def __init__(self, extractor: Any, *, main: str) -> None:
        self.extractor, self.main = extractor, main

    def __call__(self, clip: Any) -> Wave:
        from scipy.signal import resample_poly

        rate = int(self.extractor.sampling_rate)
        samples: np.ndarray = clip.samples
        if clip.rate != rate:
            common = int(np.gcd(clip.rate, rate))
            samples = resample_poly(samples, rate // common, clip.rate // common)
        most = MOST_SECONDS * rate
        cut = max(0, len(samples) - most) / rate
        samples = samples[:most].astype(np.float32)
        if len(samples) < LEAST_SAMPLES:
            raise BadSampleError(
                "", f"the audio clip has {len(samples)} samples at {rate} Hz, {LEAST_SAMPLES} are needed"
            )
        out = self.extractor(samples, sampling_rate=rate, return_tensors="pt")
        return Wave(out[self.main][0], cut)


class AudioEncoder(TransformersEncoder):
    """An audio model. Audio clips of one length go through it together and all others alone: nothing is ever padded, so
    that a row is what the library gives for that audio clip by itself."""

    @property
    def too_long(self) -> str:
        return f"audio clips were longer than {MOST_SECONDS} seconds"

    @property
    def main(self) -> str:
        """What the model calls its input."""
        return str(self.module.main_input_name)

    def collate(self, examples: Sequence[Wave]) -> EncodedBatch:
        values = torch.stack([example.values for example in examples]).to(self.device)
        return EncodedBatch({self.main: values.to(self.precision.weights)})

    def encode_tokens(
        self,
        examples: Sequence[Any],
        tokens: Mapping[str, torch.dtype],
        *,
        pooling: Sequence[Pooling] | None = None,
        layers: Sequence[str] | None = None,
    ) -> tuple[dict[str, torch.Tensor], dict[str, LayerTokens]]:
        if tokens:
            raise StructureError(f"{self.name} reads audio clips: only pooled features of them are saved, no tokens.")
        order = sorted(range(len(examples)), key=lambda position: (-len(examples[position]), position))
        parts: list[dict[str, torch.Tensor]] = []
        for _, run in groupby(order, key=lambda position: len(examples[position])):
            alike = [examples[position] for position in run]
            parts.append(super().encode_tokens(alike, {}, pooling=pooling, layers=layers)[0])
        back = torch.tensor(order).argsort().to(self.device)
        return {name: torch.cat([part[name] for part in parts])[back] for name in parts[0]}, {}

    def blank(self) -> EncodedBatch:
        """One input without content, from the config alone: a second of samples, or a spectrogram of full size."""
        config = self.config
        frames, bins = getattr(config, "max_length", None), getattr(config, "num_mel_bins", None)
        if bins:
            frames = frames or 2 * int(getattr(config, "max_source_positions", 512))
            shape: tuple[int, ...] = (1, frames, bins) if self.main == "input_values" else (1, bins, frames)
        else:
            shape = (1, 16000)
        return EncodedBatch({self.main: torch.zeros(*shape, device=self.device, dtype=self.precision.weights)})


def prepare_audio(encoder: AudioEncoder, folder: Path) -> dict[str, Any]:
    """Give the encoder its preprocessing and its layers. Returns the provenance's part on preprocessing."""
    import transformers

    try:
        extractor = transformers.AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise NotPresentError(
            f"{folder} does not say how its audio clips are prepared (preprocessor_config.json: {error}). Put the "
            "model's own file there."
        ) from error
    preprocess = AudioPreprocess(extractor, main=encoder.main)
    encoder.preprocess = preprocess
    rate = int(extractor.sampling_rate)
    noise = np.random.default_rng(0).standard_normal(rate).astype(np.float32)
    encoder.settle(encoder.collate([preprocess(SimpleNamespace(samples=noise, rate=rate))]))
    return {
        "class": type(extractor).__name__,
        "most_seconds": MOST_SECONDS,
        "config": json.loads(extractor.to_json_string()),
    }
