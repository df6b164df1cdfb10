"""Small video files, made here: frame `i` is of the grey `GREY + STEP * i`, with a white corner at the upper left."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from io import BytesIO
from typing import Any

import numpy as np

GREY, STEP = 20, 10


def video(
    frames: int = 10,
    *,
    size: tuple[int, int] = (64, 48),
    form: str = "mp4",
    codec: str = "libx264",
    times: Sequence[int] | None = None,
    turn: int = 0,
    **of_stream: Any,
) -> bytes:
    """A video of `frames` frames, 100 ms each, or shown at `times` (ms). `turn`: degrees, against the clock."""
    import av

    sink = BytesIO()
    with av.open(sink, "w", format=form) as out:
        stream = out.add_stream(codec, rate=10)
        stream.width, stream.height = size
        stream.codec_context.gop_size = 4
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for name, value in of_stream.items():
            setattr(stream, name, value)
        if turn:
            stream.set_display_rotation(turn)
        for number in range(frames):
            pixels = np.full((size[1], size[0], 3), min(GREY + STEP * number, 235), np.uint8)
            pixels[:16, :16] = 255
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = times[number] if times else 100 * number, Fraction(1, 1000)
            for packet in stream.encode(frame):
                out.mux(packet)
        for packet in stream.encode(None):
            out.mux(packet)
    return sink.getvalue()


def number_of(image: Any) -> int:
    """Which frame of such a video an image is, by its grey at the lower right."""
    return round((int(np.asarray(image)[-4, -4, 0]) - GREY) / STEP)
