"""The files of an aligner as bytes: its record, and whether that vouches for the weights beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from structure.pipeline.aligners.aligner_runs import RECORD, WEIGHTS
from structure.pipeline.owned_files import remedy_of
from structure.store.errors import DamageError, StructureError
from structure.store.files import Files
from structure.store.files_at_url import open_files
from structure.store.seals import Seal, SealError, require_own

FORMAT = "structure-aligner"
VERSION = 1


def open_aligner(place: str | Path | Files) -> Files:
    """The folder of an aligner, by path or fsspec URL (or by that of its `aligner.json`)."""
    return place if isinstance(place, Files) else open_files(str(place).removesuffix(f"/{RECORD}"))


def aligner_bytes(folder: Files) -> dict[str, bytes]:
    """The weights and the record. Raises StructureError where one is missing."""
    files: dict[str, bytes] = {}
    for name in (WEIGHTS, RECORD):
        try:
            files[name] = folder.read(name)
        except (FileNotFoundError, NotADirectoryError):
            raise StructureError(
                f"There is no aligner in {folder}: {name} is missing. Train one with `structure align`."
            ) from None
    return files


def require_whole(files: Mapping[str, bytes], *, source: str, place: str = "") -> dict[str, Any]:
    """The record, which is this folder's own and states the digest of these weights; `source` says where they were
    read, `place` which folder of a store that is.

    Raises StructureError where it is from a newer version, DamageError where the bytes are not those that were saved.
    """
    again = how_to_mend(place)
    try:
        require_own(files[RECORD], Seal(f"{place}/{RECORD}".lstrip("/")), any_owner=True)
        record = json.loads(files[RECORD])
        known = isinstance(record, dict) and record.get("format") == FORMAT
    except SealError as error:
        raise DamageError(f"{source}/{RECORD} {error}. {again}") from None
    except (ValueError, RecursionError):
        raise DamageError(f"{source}/{RECORD} is not JSON: it is damaged. {again}") from None
    if not known:
        raise StructureError(f"{source}/{RECORD} is not the record of an aligner (its format is not {FORMAT}).")
    if record.get("version") != VERSION:
        raise StructureError(
            f"The aligner in {source} has version {record.get('version')}; this program reads {VERSION}. "
            "Upgrade structure."
        )
    digest = hashlib.sha256(files[WEIGHTS]).hexdigest()
    if digest != record.get("weights_sha256"):
        raise DamageError(
            f"{source}/{WEIGHTS} has SHA-256 {digest[:12]}..., its record says "
            f"{str(record.get('weights_sha256'))[:12]}...: damaged, or of another aligner. {again}"
        )
    return dict(record)


def how_to_mend(place: str) -> str:
    """What to do about a damaged aligner in this folder of a store, "" in none."""
    return remedy_of(f"{place}/{RECORD}") if place else "Train the aligner again."
