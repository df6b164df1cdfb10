"""Frozen dataclasses as JSON values, and their digest: what something was made from, to compare with later."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from typing import Any


def digest(value: Any) -> str:
    """Hex SHA-256 of JSON values, NaN included."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def stated(value: Any, *, without: Collection[str] = ()) -> Any:
    """A frozen dataclass as JSON values: the fields that say something else than their default, but for those named in
    `without`. A field that is added later, and says nothing yet, changes no digest."""
    if is_dataclass(value):
        own = {field.name: (getattr(value, field.name), field.default) for field in fields(value)}
        return {
            name: stated(given, without=without)
            for name, (given, default) in own.items()
            if name not in without and given != default
        }
    if isinstance(value, Mapping):
        return {str(key): stated(item, without=without) for key, item in value.items()}
    return [stated(item, without=without) for item in value] if isinstance(value, list | tuple) else value
