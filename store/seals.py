"""A digest and an owner inside a file, so that a changed file, or one of something else in its place, is noticed.

A sealed file holds one line of text: `structure-seal|<key>|<owner>|<SHA-256>|structure-seal`. The key is where the file
lies in the store, the owner what it was made from or belongs to (a run, a fingerprint), the digest that of the whole
file with zeros in the digest's own place. Any format that holds a line of text carries it: a member of a JSON object, a
note in the footer of a Parquet file, the comment of a zip archive. File and digest are written in one step, so a killed
process leaves no file that looks damaged.

A record lists the digests of the files beside it that only count together with it (`digests`), such as charts and
tables; so one that is missing is noticed too. A file without a seal was written by an earlier version.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from structure.store.files import Files

SIGN = "structure-seal"
MEMBER = "seal"
"""What the seal is called in a JSON object and in the metadata of a Parquet file."""
LISTED = "sha256"
"""What a record calls the digests of the files beside it: name -> hex SHA-256."""

_ZEROS = b"0" * 64
_SEAL = re.compile(rb"structure-seal\|([^|\n]*)\|([^|\n]*)\|([0-9a-f]{64})\|structure-seal")


class SealError(ValueError):
    """What is wrong with a file, in words that follow its name: "is empty"."""


@dataclass(frozen=True)
class Seal:
    """The file of `key` in the store, which belongs to `owner` ("" for what its key says alone)."""

    key: str
    owner: str = ""

    @classmethod
    def of(cls, folder: Files, name: str, owner: str = "") -> Seal:
        """Of a file of that name in a folder."""
        return cls(folder.key(name), owner)

    @property
    def blank(self) -> str:
        """The line before the digest is known: what a file is written with, before `closed`."""
        return f"{SIGN}|{self.key}|{self.owner}|{_ZEROS.decode()}|{SIGN}"

    def json(self, document: Mapping[str, Any], **form: Any) -> bytes:
        """The document as JSON that carries this seal, with the options of `json.dumps`; NaN is refused by default."""
        return closed(json.dumps({**document, MEMBER: self.blank}, **{"allow_nan": False, **form}).encode())


def closed(data: bytes) -> bytes:
    """The file with its digest in the seal that it was written with."""
    found = _last(data)
    start, stop = found.span(3)
    return data[:start] + _digest(data, start, stop).encode() + data[stop:]


def seal_of(data: bytes) -> Seal | None:
    """The seal of a file; None where there is none: an earlier version wrote it. Raises SealError for a file that is
    not what was written."""
    require_content(data)
    if not is_sealed(data):
        return None
    found = _last(data)
    digest = _digest(data, *found.span(3))
    if digest != found[3].decode():
        raise SealError(
            f"is not what was written: its SHA-256 is {digest[:12]}..., and {found[3].decode()[:12]}... was written"
        )
    return Seal(found[1].decode(errors="replace"), found[2].decode(errors="replace"))


def require_content(data: bytes) -> None:
    """Raises SealError for a file of no bytes, or of zeros, as a disk that failed leaves one."""
    if not data.strip(b"\0"):
        raise SealError("holds nothing but zeros" if data else "is empty")


def is_sealed(data: bytes) -> bool:
    """Whether a file carries a seal, whole or not."""
    return SIGN.encode() in data


def require_own(data: bytes, own: Seal, *, any_owner: bool = False) -> Seal | None:
    """The seal of a file that must be the one of this key and owner; None where it has none. Raises SealError.

    A file that was written in a folder of no store, or is read in one, is known by the end of its key.
    """
    seal = seal_of(data)
    if seal is None:
        return None
    if not (f"/{seal.key}".endswith(f"/{own.key}") or f"/{own.key}".endswith(f"/{seal.key}")):
        raise SealError(f"is not its own: {seal.key} was written, and lies in its place")
    if not any_owner and seal.owner != own.owner:
        raise SealError(f"is of another run: it belongs to {seal.owner[:12] or 'none'}, not to {own.owner[:12]}")
    return seal


def read_json(
    folder: Files, name: str, *, owner: str | None = None, loads: Callable[[bytes], Any] = json.loads
) -> dict[str, Any]:
    """The JSON object of a sealed file, without its seal; `owner` None takes any. Raises FileNotFoundError, SealError
    for one that is not what was written, or not the file of this place."""
    return json_of(folder.read(name), Seal.of(folder, name, owner or ""), any_owner=owner is None, loads=loads)


def json_of(
    data: bytes, own: Seal, *, any_owner: bool = True, loads: Callable[[bytes], Any] = json.loads
) -> dict[str, Any]:
    """As `read_json`, of the bytes of a file."""
    require_own(data, own, any_owner=any_owner)
    try:
        body = loads(data)
    except (ValueError, RecursionError) as error:
        raise SealError(f"does not read: {error}") from None
    if not isinstance(body, dict):
        raise SealError("does not read: it is no JSON object")
    if body.pop(MEMBER, None) is not None and not is_sealed(data):
        raise SealError("is not what was written: its seal is damaged")
    return body


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """Name -> hex SHA-256 of each, as the record beside them lists them."""
    return {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}


def read_listed(folder: Files, name: str, listed: Mapping[str, str] | None) -> bytes | None:
    """A file that the record beside it lists; None where it lists none of that name and there is none. `listed` None:
    a record that lists nothing, of an earlier version. Raises SealError where it is not the one that is listed."""
    try:
        data = folder.read(name)
    except FileNotFoundError:
        if listed is None or name not in listed:
            return None
        raise SealError("is missing, and its record lists it") from None
    if listed is None:
        return data
    if name not in listed:
        raise SealError("is of another run: its record does not list it")
    require_content(data)
    digest = hashlib.sha256(data).hexdigest()
    if digest != listed[name]:
        raise SealError(
            f"is not what was written: its SHA-256 is {digest[:12]}..., its record lists {str(listed[name])[:12]}..."
        )
    return data


def _last(data: bytes) -> re.Match[bytes]:
    """The seal that comes last: text that looks like one may stand before it."""
    end = data.rfind(SIGN.encode())
    start = data.rfind(SIGN.encode(), 0, max(end, 0))
    found = _SEAL.fullmatch(data, start, end + len(SIGN)) if start >= 0 else None
    if found is None:
        raise SealError("is not what was written: its seal is damaged")
    return found


def _digest(data: bytes, start: int, stop: int) -> str:
    whole, view = hashlib.sha256(), memoryview(data)
    for part in (view[:start], _ZEROS, view[stop:]):
        whole.update(part)
    return whole.hexdigest()
