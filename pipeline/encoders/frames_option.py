"""How many frames of a video a vision encoder reads, as the option of a model's name: `?frames=8`."""

from __future__ import annotations

from collections.abc import Mapping

from structure.store.errors import UsageError

FRAMES_OPTION = "frames"
MOST_FRAMES = 256
"""Frames of one video; all of them pass through the encoder at once."""


def read_frames(options: Mapping[str, str], *, spec: str) -> int:
    """`{"frames": "8"}` as a number, 1 without. Raises UsageError for what is no number, or out of range."""
    text = options.get(FRAMES_OPTION, "1")
    if not text.isdecimal() or not 1 <= int(text) <= MOST_FRAMES:
        raise UsageError(f"{spec!r}: frames is {text!r}; it is a whole number from 1 to {MOST_FRAMES}.")
    return int(text)


def with_frames(spec: str, frames: int) -> str:
    """A model's name as typed, with so many frames of a video: `dinov2?frames=8`."""
    return f"{spec}{'&' if '?' in spec else '?'}{FRAMES_OPTION}={frames}" if frames > 1 else spec
