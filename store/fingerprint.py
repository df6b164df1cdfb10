"""A stable hash of everything that determines the stored bytes, and a way to say which field differs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any


def canonical(value: Any) -> bytes:
    """The one JSON spelling of a value: sorted keys, no spaces, UTF-8; NaN and infinity are refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def fingerprint(identity: Mapping[str, Any]) -> str:
    """Hex SHA-256 of an identity (JSON values). Empty optional fields (None, "", [], {}) do not change it."""
    return hashlib.sha256(canonical(_without_empty(identity))).hexdigest()


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """The leaf fields that differ, as (dotted path, ours, theirs), in sorted order; a missing field reads as None."""
    mine, other = dict(_leaves(_without_empty(ours))), dict(_leaves(_without_empty(theirs)))
    return [
        (path, mine.get(path), other.get(path))
        for path in sorted(mine.keys() | other.keys())
        if mine.get(path) != other.get(path)
    ]


def _without_empty(value: Any) -> Any:
    if isinstance(value, Mapping):
        kept = {str(key): _without_empty(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item not in (None, "", [], {})}
    if isinstance(value, list | tuple):
        if set(map(type, value)) == {int}:  # the numbers of a million rows
            return list(value)
        return [_without_empty(item) for item in value]
    return value


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else key)
    else:
        yield path, value
