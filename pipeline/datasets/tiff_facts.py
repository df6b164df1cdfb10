"""What the directory of a TIFF says of its pixels, read without decoding one."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

from PIL.TiffImagePlugin import ImageFileDirectory_v2

SUBFILE, WIDTH, HEIGHT, BITS, PHOTOMETRIC, SAMPLES, PLANAR, EXTRA = 254, 256, 257, 258, 262, 277, 284, 338
_REDUCED_OR_MASK = 0b101
_MAGIC = (b"II*\0", b"MM\0*")


@dataclass(frozen=True)
class TiffFacts:
    """Of one page: `bands`, the most `bits` of a band, `extra` (0: neither colour nor transparency, 1 and 2:
    transparency, for each band beyond the colours that the file tells of), the `colours` among the bands, `size`
    (width, height).

    `pages` counts the pages of the same size that are no overviews or masks of the first.
    """

    bands: int
    bits: int
    extra: tuple[int, ...]
    colours: int
    size: tuple[int, int]
    white_is_zero: bool
    interleaved: bool
    pages: int

    @property
    def more_bands(self) -> int:
        """Bands that are no colour."""
        return self.bands - self.colours


def tiff_facts(data: bytes, page: int = 1) -> TiffFacts | None:
    """The facts of page `page`; None for other files, BigTIFF, and a directory that does not read."""
    if not data.startswith(_MAGIC):
        return None
    try:
        directories = _directories(data)
        first = directories[0]
        chosen = directories[page - 1] if page <= len(directories) else first
        size = first[WIDTH], first[HEIGHT]
        same = [d for d in directories if (d[WIDTH], d[HEIGHT]) == size and not d.get(SUBFILE, 0) & _REDUCED_OR_MASK]
        kind, bands = chosen.get(PHOTOMETRIC, 1), int(chosen.get(SAMPLES, 1))
        colours = {0: 1, 1: 1, 3: 1, 4: 1, 5: 4}.get(kind, 3)
        extra = tuple(int(value) for value in chosen.get(EXTRA, ()))
        return TiffFacts(
            bands,
            max(chosen.get(BITS, (1,))),
            extra,
            min(colours, bands),
            (int(chosen[WIDTH]), int(chosen[HEIGHT])),
            white_is_zero=kind == 0,
            interleaved=chosen.get(PLANAR, 1) == 1,
            pages=max(1, len(same)),
        )
    except Exception:  # damaged bytes may raise anything; decoding says what is wrong
        return None


def tiff_directory(data: bytes, page: int = 1) -> ImageFileDirectory_v2 | None:
    """The directory of page `page`; None for other files and for one that does not read."""
    if not data.startswith(_MAGIC):
        return None
    try:
        return _directories(data)[page - 1]
    except Exception:  # damaged bytes may raise anything
        return None


def _directories(data: bytes) -> list[ImageFileDirectory_v2]:
    file = BytesIO(data)
    found: list[ImageFileDirectory_v2] = []
    directory, seen = ImageFileDirectory_v2(data[:8]), set[int]()
    while directory.next and directory.next not in seen:
        seen.add(directory.next)
        file.seek(directory.next)
        following = ImageFileDirectory_v2(data[:8])
        following.load(file)
        found.append(following)
        directory = following
    return found
