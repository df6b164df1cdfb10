"""What the pixels of a data set mean where its files do not say it: `?window=900,1200`, `?bits=12`, `?bands=1,2,3`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from shlex import quote
from typing import Any

from structure.store.errors import BadSampleError, StructureError

PIXEL_OPTIONS: Mapping[str, str] = {
    "window": "LOW,HIGH: grey values beyond 8 bits that become black and white; percentile: each image by its own",
    "percentile": "LOW,HIGH (1,99 where none are given): the percentiles of each image that become black and white",
    "bits": "how many bits of such values are used, such as 12 or 16",
    "bands": "which bands of a TIFF are red, green, blue (1,2,3), or rgba: the fourth is transparency",
    "page": "which page of a TIFF is the image, from 1",
}
"""Options of every kind of images."""


class UnclearPixelsError(BadSampleError):
    """An image whose pixels have no agreed meaning; `remedy` are the options that would give them one."""

    def __init__(self, item: str, reason: str, remedy: str = "") -> None:
        super().__init__(item, f"{reason}. {remedy}" if remedy else reason)
        self.fact, self.remedy = reason, remedy

    def __reduce__(self) -> tuple[type[UnclearPixelsError], tuple[str, str, str]]:  # type: ignore[override]
        return type(self), (self.item, self.fact, self.remedy)


@dataclass(frozen=True)
class PixelMeaning:
    """How values beyond 8 bits become 0 to 255 (one of `window` = (low, high), `percentiles` = (low, high), `bits`),
    which `bands` are red, green and blue ("rgba": as the file says), and which `page` of a TIFF is read. None: the file
    must say it."""

    window: tuple[float, float] | None = None
    percentiles: tuple[float, float] | None = None
    bits: int | None = None
    bands: tuple[int, ...] | str | None = None
    page: int | None = None

    @classmethod
    def of(cls, options: Mapping[str, tuple[str, ...]]) -> PixelMeaning:
        """From the options of a dataset's name. Raises `StructureError` for values that make no sense."""
        given = {name: options[name][-1] for name in PIXEL_OPTIONS if name in options}
        window = given.pop("window", None)
        if window is not None and window.startswith(("percentile", "bits=")):  # as one option or as another
            name, _, value = window.partition("=")
            given.setdefault(name, value)
            window = None
        ways = [name for name in ("percentile", "bits") if name in given] + ["window"] * (window is not None)
        if len(ways) > 1:
            raise StructureError(f"{' and '.join(ways)} are given; grey values are read in one way. Keep one of them.")
        percentile = given.get("percentile")
        bits = _number(given["bits"], "bits", 9, 16) if "bits" in given else None
        return cls(
            _interval("window", window) if window is not None else None,
            _interval("percentile", percentile or "1,99", low=0, high=100) if percentile is not None else None,
            bits,
            _bands(given["bands"]) if "bands" in given else None,
            _number(given["page"], "page", 1, 1_000_000) if "page" in given else None,
        )

    @property
    def has_range(self) -> bool:
        """Whether it says how values beyond 8 bits are read."""
        return self.window is not None or self.percentiles is not None or self.bits is not None

    def identity(self) -> dict[str, Any] | None:
        """What is given, for the fingerprint of features; None where nothing is."""
        values = {
            "window": list(self.window) if self.window else None,
            "percentiles": list(self.percentiles) if self.percentiles else None,
            "bits": self.bits,
            "bands": self.bands if isinstance(self.bands, str) else list(self.bands) if self.bands else None,
            "page": self.page,
        }
        return {name: value for name, value in values.items() if value is not None} or None


AS_THE_FILE_SAYS = PixelMeaning()

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""How TIFF and BigTIFF begin, in either byte order."""

MAY_BE_UNCLEAR = (b"\x89PNG", *TIFF_MAGIC, b"\0\0\0\x0cjP", b"\xff\x4f\xff\x51", b"P2", b"P3", b"P5", b"P6")
"""How files begin whose values may have more than 8 bits, or whose bands may be no colours."""


def with_name(remedy: str, spec: str) -> str:
    """The remedy with the dataset's name before each of its options, in quotation marks, as it is typed."""
    joint = "&" if "?" in spec else "?"

    def with_spec(word: str) -> str:
        bare = word.rstrip(",.;")
        return f"{quote(f'{spec}{joint}{bare[1:]}')}{word[len(bare) :]}" if word.startswith("?") else word

    return " ".join(map(with_spec, remedy.split(" ")))


def _interval(name: str, text: str, *, low: float | None = None, high: float | None = None) -> tuple[float, float]:
    try:
        first, second = (float(part) for part in text.split(","))
    except ValueError:
        first, second = 1.0, 0.0
    inside = (low is None or first >= low) and (high is None or second <= high)
    if not first < second or not inside or abs(first) + abs(second) == float("inf"):
        numbers = f" from {low:g} to {high:g}" if low is not None and high is not None else ""
        more = ", or window=percentile" if name == "window" else ""
        raise StructureError(
            f"{name}={text} is no interval; it takes two numbers{numbers}, the lower one first: {name}=LOW,HIGH{more}."
        )
    return first, second


def _number(text: str, name: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
        raise StructureError(f"{name}={text} is not a whole number from {low} to {high:,}.")
    return int(text)


def _bands(text: str) -> tuple[int, ...] | str:
    if text == "rgba":
        return text
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and int(part) for part in parts) or len(parts) not in (1, 3):
        raise StructureError(
            f"bands={text} is no choice of bands; it takes one number (grey), three (red, green, blue; the first band "
            "is 1), or rgba."
        )
    return tuple(map(int, parts))
