"""What the directory of a TIFF says of its pixels, read without decoding one."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

from PIL.TiffImagePlugin import ImageFileDirectory_v2

from structure.pipeline.datasets.pixel_meaning import TIFF_MAGIC

SUBFILE, OLD_SUBFILE, WIDTH, HEIGHT, BITS, PHOTOMETRIC, ORIENTATION = 254, 255, 256, 257, 258, 262, 274
SAMPLES, PLANAR, EXTRA, FORMAT = 277, 284, 338, 339
_REDUCED_OR_MASK, _OLD_REDUCED = 0b101, 2


@dataclass(frozen=True)
class TiffFacts:
    """Of one page: `bands`, the most `bits` of a band, `extra` (0: neither colour nor transparency, 1 and 2:
    transparency, for each band beyond the colours that the file tells of), the `colours` among the bands, `size`
    (width, height) as it is stored, `orientation` as of EXIF.

    `has_plain_colours`: its colours are grey or RGB as they are. `pages` counts the pages that are no overviews or
    masks of the first: those of another shape, and those that are larger or as large. `is_signed`: of 8 bits, from -128
    on.
    """

    bands: int
    bits: int
    extra: tuple[int, ...]
    colours: int
    size: tuple[int, int]
    white_is_zero: bool
    interleaved: bool
    pages: int
    orientation: int = 1
    has_plain_colours: bool = True
    is_signed: bool = False

    @property
    def more_bands(self) -> int:
        """Bands that are no colour."""
        return self.bands - self.colours


def tiff_facts(data: bytes, page: int = 1) -> TiffFacts | None:
    """The facts of page `page`; None for other files and for a directory that does not read."""
    if not data.startswith(TIFF_MAGIC):
        return None
    try:
        directories = _directories(data)
        first = directories[0]
        chosen = directories[page - 1] if page <= len(directories) else first
        pages = [first, *(each for each in directories[1:] if not _belongs_to(first, each))]
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
            pages=len(pages),
            orientation=int(chosen.get(ORIENTATION, 1)),
            has_plain_colours=kind in (0, 1, 2),
            is_signed=max(chosen.get(BITS, (1,))) == 8 and 2 in chosen.get(FORMAT, ()),
        )
    except Exception:  # damaged bytes may raise anything; decoding says what is wrong
        return None


def tiff_directory(data: bytes, page: int = 1) -> ImageFileDirectory_v2 | None:
    """The directory of page `page`; None for other files and for one that does not read."""
    if not data.startswith(TIFF_MAGIC):
        return None
    try:
        return _directories(data)[page - 1]
    except Exception:  # damaged bytes may raise anything
        return None


def _belongs_to(first: ImageFileDirectory_v2, page: ImageFileDirectory_v2) -> bool:
    """Whether a page is an overview or a mask of the first: it says so, or is the same picture made smaller."""
    if page.get(SUBFILE, 0) & _REDUCED_OR_MASK or page.get(OLD_SUBFILE) == _OLD_REDUCED:
        return True
    width, height = first[WIDTH], first[HEIGHT]
    wide, tall = page[WIDTH], page[HEIGHT]
    if wide > width or tall > height or (wide, tall) == (width, height):
        return False
    return bool(abs(wide - width * tall / height) <= 1 or abs(tall - height * wide / width) <= 1)


def _directories(data: bytes) -> list[ImageFileDirectory_v2]:
    file, head = BytesIO(data), data[:16]  # of a BigTIFF; the header of others takes 8
    found: list[ImageFileDirectory_v2] = []
    directory, seen = _header(head), set[int]()
    while directory.next and directory.next not in seen:
        seen.add(directory.next)
        file.seek(directory.next)
        following = _header(head)
        following.load(file)
        found.append(following)
        directory = following
    return found


def _header(head: bytes) -> ImageFileDirectory_v2:
    return ImageFileDirectory_v2(head if head[2:4].strip(b"\0") == b"+" else head[:8])
