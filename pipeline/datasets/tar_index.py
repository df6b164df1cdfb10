"""Where every member of a tar lies, from one pass over its headers; nothing is ever unpacked to disk."""

from __future__ import annotations

import re
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from structure.store.errors import BadSampleError, DamageError, StructureError

_BLOCK = 512


@dataclass(frozen=True)
class Member:
    """A regular file inside a tar: its bytes are `[offset, offset + size)` of the tar."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True)
class Group:
    """The members that share a key (`s0000003.webp` and `s0000003.cls`), by lower-case ending (`webp`, `cls`);
    `repeated` are those of an ending that is there already."""

    key: str
    members: dict[str, Member]
    repeated: list[Member] = field(default_factory=list)


def index_tar(file: Path) -> list[Group]:
    """Groups in order of first appearance. The key is the member's path up to the first dot of its file name, as in
    webdataset; hidden files and files without ending are passed over.

    Raises `DamageError` for a tar that is compressed, cut short or damaged, and `StructureError` for a member that is
    a link or a device, or that points outside (absolute, or with `..`).
    """
    groups: dict[str, Group] = {}
    for member in _members(file):
        matched = re.fullmatch(r"((?:.*/)?[^./]+)\.([^/]+)", member.name)
        if matched is None:
            continue
        key, ending = matched[1], matched[2].lower()
        group = groups.setdefault(key, Group(key, {}))
        if ending in group.members:
            group.repeated.append(member)
        else:
            group.members[ending] = member
    return list(groups.values())


def read_member(file: Path, member: Member, *, item: str) -> bytes:
    """The member's bytes by one seek. Raises `BadSampleError` where the tar has changed or is gone."""
    try:
        with file.open("rb") as tar:
            tar.seek(member.offset)
            data = tar.read(member.size)
    except OSError as error:
        raise BadSampleError(item, f"{file} cannot be read: {error}") from None
    if len(data) != member.size:
        raise BadSampleError(
            item, f"{file}, member {member.name}: {len(data)} of {member.size} bytes are there; the tar was cut short"
        )
    return data


def _members(file: Path) -> list[Member]:
    members: list[Member] = []
    count = 0
    try:
        with file.open("rb") as raw:
            with tarfile.open(fileobj=raw, mode="r:") as tar:
                while (entry := tar.next()) is not None:
                    count += 1
                    _refuse_unsafe(file, entry)
                    if entry.isreg():
                        members.append(Member(entry.name.removeprefix("./"), entry.offset_data, entry.size))
                    tar.members.clear()  # type: ignore[attr-defined]  # tarfile keeps every header; those of 100,000 members take 100 MB
                end = tar.offset
            _require_end(file, raw, end, count)
    except (tarfile.TarError, EOFError) as error:
        with file.open("rb") as raw:
            magic = raw.read(6)
        if magic.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")):
            raise DamageError(
                f"{file} is compressed; images are read from the middle of a tar, which needs it plain. Unpack it "
                "(gunzip, unzstd) and keep the ending .tar."
            ) from None
        raise DamageError(
            f"{file} is damaged or cut short: {error} after {count} members, {file.stat().st_size} bytes. Copy it "
            "again."
        ) from None
    return members


def _refuse_unsafe(file: Path, entry: tarfile.TarInfo) -> None:
    if entry.name.startswith("/") or ".." in entry.name.split("/"):
        raise StructureError(
            f"{file}, member {entry.name!r} points outside of the tar. Do not trust this file; get it from its source "
            "again."
        )
    if not (entry.isreg() or entry.isdir()):
        kind = "a link" if entry.issym() or entry.islnk() else "a device or a pipe"
        raise StructureError(
            f"{file}, member {entry.name} is {kind}; only plain files are read. Write the tar anew without it."
        )
    if entry.sparse is not None:
        raise StructureError(
            f"{file}, member {entry.name} is stored with holes (GNU sparse). Write the tar without --sparse."
        )


def _require_end(file: Path, raw: BinaryIO, end: int, count: int) -> None:
    """tarfile stops in silence at a damaged header and at an early end; a whole tar ends in blocks of zeros alone."""
    raw.seek(end)
    zeros = 0
    while chunk := raw.read(1 << 20):
        if chunk.strip(b"\0"):
            raise DamageError(
                f"{file} is damaged: after {count} members there are bytes at {end} that are no tar header "
                f"({file.stat().st_size} bytes in all; tars glued together look like this too). Copy it again."
            )
        zeros += len(chunk)
    if zeros < _BLOCK:
        raise DamageError(
            f"{file} is cut short: it ends after {count} members, {file.stat().st_size} bytes, without the end mark of "
            "a tar. Copy it again."
        )
