"""Bytes to frames of a video, safely: K frames evenly spaced in time, upright, in RGB, or a `BadSampleError`.

The video is divided into K segments of equal duration, and the frame that is shown at the centre of each is taken: the
sampling of Temporal Segment Networks at test time (Wang et al., ECCV 2016, section 3). At a constant frame rate that is
frame `(2i + 1) n // 2K` of n; at a variable one the times count and not the frames.

The decoder is handed the bytes alone and may open nothing else: no file, no address, no list of other files.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

from structure.pipeline.installed_package import install_command
from structure.store.errors import BadSampleError

if TYPE_CHECKING:
    from PIL import Image

VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ogv", ".wmv", ".3gp"})
"""File name endings that are taken for videos, in lower case."""

MOST_BYTES = 2**31
"""Larger files are refused: a video is read into memory whole."""
MOST_PIXELS = 2**26
"""Pixels of a frame, at most: twice those of 8K. A decoder holds up to 16 of them."""
MOST_DECODED = 2**41
"""Pixels of all frames of a video, at most: nine hours of 1920 x 1080 at 30 frames a second."""
SHORTFALL = 0.9
"""A video whose frames last less than this share of what its header promises was cut off."""

_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegvideo,ogg,asf"
"""What may be opened: formats of a single file. Lists (concat, hls, dash) would have the decoder open others."""
_SEEKABLE = ("mov", "matroska")
_PICTURES = (b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1")


def is_video(data: bytes) -> bool:
    """Whether the first bytes are those of a video file."""
    if data[4:8] == b"ftyp":
        return data[8:12] not in _PICTURES
    signatures = (b"\x1a\x45\xdf\xa3", b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3", b"OggS", b"\x30\x26\xb2\x75")
    return (
        data.startswith(signatures)
        or data[4:8] in (b"moov", b"mdat", b"wide")
        or (data[:4] == b"RIFF" and data[8:12] == b"AVI ")
    )


def decode_frames(data: bytes, count: int, *, item: str, source: str = "") -> Iterator[Image.Image]:
    """`count` frames of the video in `data`, one after the other, as RGB images; `source` is named in errors.

    A frame is turned upright as its file says. Raises `BadSampleError`, which names the sample, for data that is no
    video, is damaged, cut off, too large, without frames or with fewer than `count`, and where the decoder is not
    installed (extra `video`).
    """
    prefix = f"{source}: " if source else ""
    try:
        import av
    except ImportError:
        raise BadSampleError(item, f"{prefix}a video; to read it: {install_command('av')}") from None
    try:
        yield from _frames(av, data, count)
    except _UnreadableVideo as error:
        raise BadSampleError(item, f"{prefix}{error}") from None
    except Exception as error:  # a decoder that is fed damaged bytes may raise anything
        reason = getattr(error, "strerror", "") or str(error) or type(error).__name__
        raise BadSampleError(item, f"{prefix}not a video that can be read ({len(data):,} bytes): {reason}") from None


class _UnreadableVideo(Exception):
    """Why a video gives no frames, in words."""


@dataclass(frozen=True)
class _Timeline:
    """When each frame is shown, in ticks: `times` sorted, `end` of the last; `by_pts`: the decoder's own timestamps are
    these. `keys`: the times of frames that decoding may start at."""

    times: Sequence[int]
    end: int
    by_pts: bool
    keys: Sequence[int]


def _frames(av: Any, data: bytes, count: int) -> Iterator[Image.Image]:
    if len(data) > MOST_BYTES:
        raise _UnreadableVideo(f"a video of {len(data):,} bytes; at most {MOST_BYTES:,} are read. Cut it into parts")
    with _opened(av, data) as (container, stream):
        line = _timeline(container, stream)
        _require_size(stream, len(line.times))
    if len(line.times) < count:
        frames = f"{len(line.times)} frame{'s' if len(line.times) != 1 else ''}"
        raise _UnreadableVideo(f"the video has {frames}, and {count} are asked for. Ask for fewer --frames")
    start, span = line.times[0], line.end - line.times[0]
    # In whole ticks; the frame shown at a time is the last that began by then.
    centres = [start + (2 * i + 1) * span // (2 * count) for i in range(count)]
    targets = [bisect_right(line.times, centre) - 1 for centre in centres]
    with _opened(av, data) as (container, stream):
        for frame in _decoded(container, stream, line, targets):
            if frame.is_corrupt:
                raise _UnreadableVideo(f"the frame at {float(frame.time or 0):.2f} s is damaged")
            yield _upright(frame)


def _decoded(container: Any, stream: Any, line: _Timeline, targets: Sequence[int]) -> Iterator[Any]:
    """The frames of these numbers, in order. Decoding skips to the last key frame before each, where files allow it."""
    can_seek = line.by_pts and container.format.name.startswith(_SEEKABLE)
    frames, place, current = iter(container.decode(stream)), -1, None
    for target in targets:
        key = bisect_right(line.keys, line.times[target]) - 1
        if can_seek and key >= 0 and line.keys[key] > line.times[max(place, 0)]:
            container.seek(line.keys[key], stream=stream)
            frames = iter(container.decode(stream))
        while place < target:
            current = next(frames, None)
            if current is None:
                raise _UnreadableVideo(
                    f"the video is damaged: frame {target + 1} of {len(line.times)} cannot be decoded"
                )
            known = line.by_pts and current.pts is not None
            place = bisect_right(line.times, current.pts) - 1 if known else place + 1
        yield current


def _timeline(container: Any, stream: Any) -> _Timeline:
    """From the packets alone, nothing is decoded. Some files (AVI) hold no times of presentation; frames then follow
    one another in the order of decoding."""
    packets = [packet for packet in container.demux(stream) if packet.size and not packet.is_discard]
    if not packets:
        raise _UnreadableVideo("the video has no frame")
    shown = [packet.pts for packet in packets]
    by_pts = container.format.name != "avi" and None not in shown and len(set(shown)) == len(shown)
    times = sorted(shown) if by_pts else list(range(len(packets)))
    last = max(packets, key=lambda packet: packet.pts) if by_pts else None
    usual = (times[-1] - times[0]) // (len(times) - 1) if len(times) > 1 else 1
    end = times[-1] + ((last.duration if last is not None else 1) or usual or 1)
    if by_pts and (promised := _promised(container, stream)) and end - times[0] < SHORTFALL * promised:
        seconds = stream.time_base
        raise _UnreadableVideo(
            f"the video was cut off: its frames last {float((end - times[0]) * seconds):.2f} s, and its header says "
            f"{float(promised * seconds):.2f} s"
        )
    return _Timeline(times, end, by_pts, sorted(p.pts for p in packets if p.is_keyframe) if by_pts else ())


def _promised(container: Any, stream: Any) -> float:
    """How long the header says that the video is, in ticks; 0 where it does not, and where sound may be longer."""
    if stream.duration:
        return float(stream.duration)
    alone = len(container.streams) == 1 and container.duration
    return float(container.duration / 1_000_000 / stream.time_base) if alone else 0.0


def _require_size(stream: Any, frames: int) -> None:
    width, height = stream.codec_context.width, stream.codec_context.height
    if not width * height:
        raise _UnreadableVideo("the video has no frame that can be decoded")
    if width * height > MOST_PIXELS or width * height * frames > MOST_DECODED:
        raise _UnreadableVideo(
            f"too large to be decoded safely: {frames:,} frames of {width} x {height}, at most {MOST_PIXELS:,} pixels "
            f"a frame and {MOST_DECODED:,} in all are decoded. Scale it down, or cut it into parts"
        )


@contextmanager
def _opened(av: Any, data: bytes) -> Iterator[tuple[Any, Any]]:
    limits = {"format_whitelist": _FORMATS, "protocol_whitelist": "none", "enable_drefs": "0"}
    with av.open(BytesIO(data), container_options=limits) as container:
        stream = next(iter(container.streams.video), None)
        if stream is None or stream.codec_context is None:
            has = "no video stream" if stream is None else "a video stream that no decoder here reads"
            raise _UnreadableVideo(f"the file has {has}")
        stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
        yield container, stream


def _upright(frame: Any) -> Image.Image:
    """The frame as an RGB image, turned as its file says: in quarters of a circle, as cameras do."""
    image: Image.Image = frame.to_image()
    turn = 90 * round((frame.rotation or 0) / 90)
    if abs(turn - frame.rotation) > 1:  # a matrix of rounded numbers
        raise _UnreadableVideo(f"the video is to be turned by {frame.rotation} degrees; only quarters of a circle are")
    return image.rotate(turn, expand=True) if turn else image
