"""Bytes on the disk below each part of a store."""

from __future__ import annotations

from structure.store.column_layout import TOKENS
from structure.store.store import Store


def disk_usage(store: Store) -> dict[str, int]:
    """Bytes below each part: every feature set by its key, its tokens besides, the embeddings of each name, and
    each other top folder."""
    usage: dict[str, int] = {}
    for key in store.files.keys(""):
        parts = key.split("/")
        part = parts[0]
        if part == "features" and len(parts) > 4:
            part = "/".join(parts[: 5 if parts[4] == TOKENS else 4])
        elif part == "embeddings" and len(parts) > 2:
            part = "/".join(parts[:2])
        usage[part] = usage.get(part, 0) + store.files.size(key)
    return dict(sorted(usage.items()))
