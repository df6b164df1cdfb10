"""What two stores must have in common that the same commands made: every number, without times and what hashes them."""

from __future__ import annotations

import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

VOLATILE = re.compile(
    r"seconds.*|.*_seconds|.*_per_second|created|made|time|times|written|at|began|seal|sha256|digest|run|runs|version|host|pid"
    r"|bytes|was|why|.*milliseconds|started|date|peak.*|memory|fingerprint"
)
"""Names of values that say when, how fast, why or by which run."""

_DIGEST = re.compile("[0-9a-f]{32,}")
"""Of files that hold times; the files themselves are compared."""

_BYTES = (".npz", ".safetensors", ".npy", ".faiss", ".txt", ".yaml", ".md")
"""Files that are the same to the byte, beside those of feature sets; pictures and pages only have to be there."""


def normal(name: str, data: bytes) -> Any:
    """The part of a file that two makings of it share."""
    if "/features/" in f"/{name}":
        return hashlib.sha256(data).hexdigest()
    if name.endswith(".json"):
        return _steady(json.loads(data))
    if name.endswith(".parquet"):
        from pyarrow import parquet

        return _steady(parquet.read_table(io.BytesIO(data)).to_pylist())
    if name.endswith(_BYTES):
        return hashlib.sha256(data).hexdigest()
    return bool(data)


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _steady(each) for name, each in value.items() if not VOLATILE.fullmatch(name)}
    if isinstance(value, list):
        return [_steady(each) for each in value]
    return "a digest" if isinstance(value, str) and _DIGEST.fullmatch(value) else repr(value)


def tree(folder: Path) -> dict[str, Any]:
    """Every file below the folder in normal form; what interrupted writes leave is no file of a store: dot files, and
    leases of processes that have ended, which hold nobody up."""
    return {
        str(path.relative_to(folder)): normal(str(path.relative_to(folder)), path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".") and ".tmp" not in path.name and path.parent.name != "claims"
    }


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Names of files that are not as they should be, with what is wrong."""
    said = [f"{name} is missing" for name in wanted if name not in found]
    said += [f"{name} is too much" for name in found if name not in wanted]
    for name in wanted:
        if name in found and found[name] != wanted[name]:
            said.append(f"{name} is another: {_first(found[name], wanted[name])}")
    return said


def _first(found: Any, wanted: Any, at: str = "") -> str:
    if isinstance(found, dict) and isinstance(wanted, dict):
        for name in sorted({*found, *wanted}):
            if found.get(name) != wanted.get(name):
                return _first(found.get(name), wanted.get(name), f"{at}.{name}")
    if isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        for number, (one, other) in enumerate(zip(found, wanted, strict=True)):
            if one != other:
                return _first(one, other, f"{at}[{number}]")
    return f"{at} {str(found)[:60]} for {str(wanted)[:60]}"
