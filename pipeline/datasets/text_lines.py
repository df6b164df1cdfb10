r"""Lines of text files: they end at `\n` alone, so that no caption is cut where Unicode has other line ends."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def lines_of(text: str) -> list[str]:
    r"""The lines of `text` without their ends (`\n`, or `\r\n` as Windows writes it).

    `str.splitlines` and files opened as text cut at a form feed, U+0085, U+2028 or a lone `\r` too, which stand inside
    captions.
    """
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines[:-1] if lines and not lines[-1] else lines


def read_lines(file: Path) -> list[str]:
    """`lines_of` a UTF-8 file, with or without a byte order mark. Raises UnicodeDecodeError and OSError."""
    return lines_of(file.read_bytes().decode("utf-8-sig"))


def undecodable(text: str) -> str:
    """The first bytes that were no UTF-8, of text that was decoded with `surrogateescape`; "" where all were."""
    if text.isascii():
        return ""
    wrong = next((letter for letter in text if "\udc80" <= letter <= "\udcff"), "")
    return f"byte 0x{ord(wrong) - 0xDC00:02x}" if wrong else ""


def first_text(values: Iterable[object]) -> str:
    """The first text that holds more than white space, or ""."""
    return next((value for value in values if isinstance(value, str) and value.strip()), "")
