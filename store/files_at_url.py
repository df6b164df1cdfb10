"""What the address of a store means: a folder of this machine, or an fsspec URL."""

from __future__ import annotations

import re
from pathlib import Path

from structure.store.files import Files
from structure.store.local_files import LocalFiles
from structure.store.remote_files import RemoteFiles


def open_files(place: str | Path | Files) -> Files:
    """Files at a path or an fsspec URL (`s3://bucket/prefix`, `memory://name`); files that are open are returned."""
    if isinstance(place, Files):
        return place
    text = str(place)
    if text.startswith("file://"):
        return LocalFiles(text.removeprefix("file://"))
    return RemoteFiles.open(text) if re.match(r"[a-z0-9+]+://", text) else LocalFiles(text)
