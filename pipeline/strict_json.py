"""What stages keep as JSON, which has neither NaN nor infinity: they are null there."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def strict(value: Any) -> Any:
    """The value with every NaN and infinity as None, tuples as lists and keys as strings."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    return value


def to_json(document: Mapping[str, Any]) -> bytes:
    """The document as JSON that every reader takes."""
    return json.dumps(strict(document), indent=1, allow_nan=False).encode()


def from_json(data: bytes) -> Any:
    """Read it back; what has no value or no interval has NaN for `value`, `low` and `high` again. Raises ValueError."""
    return json.loads(data, object_hook=_measured)


def _measured(body: dict[str, Any]) -> dict[str, Any]:
    return body | {name: math.nan for name in ("value", "low", "high") if body.get(name, 0.0) is None}
