r"""Several captions in one text, as CLIP_benchmark's `.txt` members hold them: one a line, newlines inside as `\n`."""

from __future__ import annotations

import re
from collections.abc import Sequence


def join_captions(captions: Sequence[str]) -> str:
    r"""One line per caption. A newline inside becomes `\n`; backslashes directly before it, or before the letter n, are
    doubled, so that nothing is lost; every other backslash stays as it is."""
    return "\n".join(re.sub(r"(\\*)(\n|n)", _escape, caption) for caption in captions)


def split_captions(text: str) -> tuple[str, ...]:
    """The captions of `join_captions`, stripped of white space at their ends; none for an empty text."""
    lines = text.rstrip("\n").split("\n") if text.strip() else []
    return tuple(re.sub(r"(\\+)n", _unescape, line).strip() for line in lines)


def _escape(match: re.Match[str]) -> str:
    slashes = match[1] * 2
    return slashes + ("\\n" if match[2] == "\n" else "n")


def _unescape(match: re.Match[str]) -> str:
    count = len(match[1])
    return "\\" * (count // 2) + ("\n" if count % 2 else "n")
