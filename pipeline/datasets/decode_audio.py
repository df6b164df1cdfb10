"""Bytes to an audio clip: WAV with what is here, other formats where the library soundfile is installed."""

from __future__ import annotations

from io import BytesIO

import numpy as np

from structure.pipeline.datasets.dataset import AudioClip
from structure.store.errors import BadSampleError
from structure.store.without_warnings import without_warnings

MOST_SAMPLES = 2**28
"""Audio clips with more samples over all channels are refused (1 GB as float32)."""


def decode_audio(data: bytes, *, item: str, source: str = "") -> AudioClip:
    """The audio clip in `data`: the mean of its channels, whole numbers scaled to [-1, 1).

    WAV (8 to 64 bits, floats) is always read; FLAC, Ogg, MP3 and others with the extra `audio`. Raises `BadSampleError`
    for data that is empty, damaged, silent in length, in another format, or holds NaN or an infinity.
    """
    prefix = f"{source}: " if source else ""
    if not data:
        raise BadSampleError(item, f"{prefix}the file is empty (0 bytes)")
    try:
        samples, rate = _wav(data) if data[:4] in (b"RIFF", b"RIFX", b"RF64") else _others(data)
    except ImportError:
        raise BadSampleError(
            item, f'{prefix}not a WAV file; for other formats: pip install "structure-align[audio]"'
        ) from None
    except Exception as error:  # a decoder that is fed damaged bytes may raise anything
        reason = str(error) or type(error).__name__
        raise BadSampleError(item, f"{prefix}not an audio clip that can be read: {reason}") from None
    if not samples.size or not np.isfinite(samples).all():
        what = "no samples" if not samples.size else "samples that are no numbers"
        raise BadSampleError(item, f"{prefix}the audio clip has {what}")
    return AudioClip(samples, rate)


def _wav(data: bytes) -> tuple[np.ndarray, int]:
    from scipy.io import wavfile

    with without_warnings(category=wavfile.WavFileWarning):  # chunks that hold no sound
        rate, values = wavfile.read(BytesIO(data))
    if values.size > MOST_SAMPLES:
        raise ValueError(f"{values.size:,} samples, at most {MOST_SAMPLES:,} are read")
    if values.dtype == np.uint8:
        values = (values.astype(np.float32) - 128) / 128
    elif np.issubdtype(values.dtype, np.integer):
        values = values.astype(np.float64) / -float(np.iinfo(values.dtype).min)
    return _mono(values), int(rate)


def _others(data: bytes) -> tuple[np.ndarray, int]:
    import soundfile

    with soundfile.SoundFile(BytesIO(data)) as file:
        if file.frames * file.channels > MOST_SAMPLES:
            raise ValueError(f"{file.frames * file.channels:,} samples, at most {MOST_SAMPLES:,} are read")
        return _mono(file.read(dtype="float32", always_2d=True)), int(file.samplerate)


def _mono(values: np.ndarray) -> np.ndarray:
    mixed: np.ndarray = (values if values.ndim == 1 else values.mean(axis=1)).astype(np.float32)
    return mixed
