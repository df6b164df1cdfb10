"""Names of datasets and splits that are safe as folders on every file system."""

from __future__ import annotations

import hashlib
import re


def folder_safe(name: str) -> str:
    """`name` in letters, digits, `.`, `_` and `-`, not beginning with a dot; unchanged where it is so already.

    Where letters would be lost (any script but ASCII) eight digits of the name's SHA-256 keep two names apart.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-").lstrip(".-")
    if name.isascii() and plain:
        return plain
    return f"{plain or 'data'}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
