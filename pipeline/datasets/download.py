"""Files over HTTP that may be interrupted: what is there is saved, the rest is asked for, the whole is checked."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from structure.pipeline.datasets.catalogue import Download
from structure.pipeline.datasets.unpacking import unpack
from structure.pipeline.progress import Listener, Note, Progress, silent
from structure.store.errors import DamageError, NotPresentError, StructureError

BLOCK = 1 << 20
SECONDS = 30.0
"""How long a server may stay silent."""


def fetch(download: Download, folder: Path, *, on_event: Listener = silent) -> Path:
    """The file, whole and checked, in `folder`; downloaded unless it is there.

    What has come is saved as `<file>.part`; the next call asks for the rest (HTTP Range) if the server still has the
    same version (ETag), and for everything if not. Raises `NotPresentError` where the server cannot be reached or
    does not have it, `DamageError` where the connection broke (call again) or the checksum is another (the part is
    removed).
    """
    target = folder / download.file
    if target.is_file():
        _check(target, download, on_event)
        return target
    folder.mkdir(parents=True, exist_ok=True)
    part, tag = folder / f"{download.file}.part", folder / f"{download.file}.part.etag"
    total = _receive(download, part, tag, on_event)
    size = part.stat().st_size
    if total and size != total:
        raise DamageError(
            f"{download.url} broke off after {size:,} of {total:,} bytes. They are saved in {part}: run the same "
            "command again to go on."
        )
    try:
        _check(part, download, on_event)
    except DamageError:
        part.unlink()
        raise
    os.replace(part, target)
    tag.unlink(missing_ok=True)
    return target


def fetch_all(
    name: str, downloads: Sequence[Download], folder: Path, *, how: str, on_event: Listener
) -> tuple[str, ...]:
    """Fetch the files of the dataset `name` into `folder` and unpack them; their names. `how` to get them by hand.

    Raises `NotPresentError` where there is nothing to download or no network, and as `fetch` and `unpack`.
    """
    if not downloads:
        raise NotPresentError(f"{name} cannot be downloaded by a program: its owner wants to be asked. {how}")
    for download in downloads:
        try:
            file = fetch(download, folder, on_event=on_event)
        except NotPresentError as error:
            lacking = ", ".join(item.url for item in downloads if not (folder / item.file).is_file())
            raise NotPresentError(
                f"{error} On a machine with a network fetch {lacking} and place the files, packed as they are, in "
                f"{folder}; then run this command again: it checks and unpacks them. Or {how}"
            ) from None
        if download.unpack:
            on_event(Note(f"unpacking {file.name}"))
            unpack(file, folder)
    for download in downloads:
        if download.unpack:
            (folder / download.file).unlink(missing_ok=True)
    return tuple(download.file for download in downloads)


def _receive(download: Download, part: Path, tag: Path, on_event: Listener) -> int:
    """Append what is missing to `part`; returns the size that the server states, 0 where it states none."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "structure-align"}
    if have and tag.exists():
        headers |= {"Range": f"bytes={have}-", "If-Range": tag.read_text()}
    try:
        with urlopen(Request(download.url, headers=headers), timeout=SECONDS) as answer:
            goes_on = answer.status == 206
            if have:
                on_event(Note(f"{download.file}: {'goes on after' if goes_on else 'begins again; had'} {have:,} bytes"))
            have = have if goes_on else 0
            stated = answer.headers.get("Content-Length")
            total = have + int(stated) if stated else 0
            _require_space(download, part.parent, total - have)
            _remember(tag, answer.headers)
            with open(part, "ab" if goes_on else "wb") as file:
                while block := _read(answer):
                    file.write(block)
                    have += len(block)
                    on_event(Progress(f"downloading {download.file}", have, total or have, "bytes"))
            return total
    except HTTPError as error:
        if error.code == 416 and have:  # the part is as long as the file, or longer than another version of it
            return have
        raise NotPresentError(f"{download.url} answers {error.code} {error.reason}.") from None
    except (URLError, OSError, http.client.HTTPException) as error:
        if part.exists() and part.stat().st_size:
            raise DamageError(
                f"{download.url} broke off ({getattr(error, 'reason', error)}); {part.stat().st_size:,} bytes are "
                f"saved "
                f"in {part}: run the same command again to go on."
            ) from None
        raise NotPresentError(f"{download.url} cannot be reached ({getattr(error, 'reason', error)}).") from None


def _read(answer: Any) -> bytes:
    try:
        block: bytes = answer.read(BLOCK)
        return block
    except http.client.IncompleteRead as error:
        return error.partial


def _remember(tag: Path, headers: Any) -> None:
    """Only a strong ETag says that two downloads hold the same bytes."""
    mark = headers.get("ETag", "")
    if mark and not mark.startswith("W/"):
        tag.write_text(mark)
    else:
        tag.unlink(missing_ok=True)


def _require_space(download: Download, folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StructureError(
            f"{download.file} needs {needed:,} more bytes and the disk of {folder} has {free:,} free. Make space, or "
            "choose another --data-root."
        )


def _check(file: Path, download: Download, on_event: Listener) -> None:
    kind, expected = ("sha256", download.sha256) if download.sha256 else ("md5", download.md5)
    if not expected:
        if download.unpack:
            on_event(Note(f"{file.name}: its publisher states no checksum; its size and its unpacking are checked"))
        return
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()
    if found != expected:
        raise DamageError(
            f"{file} has {kind} {found} and its publisher states {expected} ({file.stat().st_size:,} bytes): it is "
            f"damaged, or another file. Remove it and run the command again; it comes from {download.url}"
        )
