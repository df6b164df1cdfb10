"""Whether a page still shows what it would show if it were made again, without making it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from structure.pipeline.shown_paths import shown_path
from structure.store import Store
from structure.store.chunk import crc32c
from structure.store.disk_usage import disk_usage
from structure.store.fingerprint import fingerprint

FOLDERS = ("aligners", "curves", "rankings", "results", "samples", "reports")
"""Of the store: what a page is made from, besides the manifests of its features and the bytes on the disk."""

_MARK = re.compile(rb'<meta name="made-from" content="([0-9a-f]{64}) ([0-9a-f]{8})( [^"]*)?">\n')
_MARKED = re.compile(rb'<meta name="made|-from" content="')
"""Either half of its beginning: one changed byte leaves the other."""
_BEFORE = '<meta name="viewport"'


def made_from(store: Store, summary: Mapping[str, Any] | None = None) -> str:
    """Hex digest of what a page is made from: names, sizes and times of the records in the store, the bytes of each of
    its parts (but of pages), the summary that it is asked to show, the store as seen from the current folder, and the
    code that makes it."""
    files = store.files
    keys = [key for folder in FOLDERS for key in files.keys(folder) if not key.endswith("/report.html")]
    keys += [f"{features.prefix}/manifest.json" for features in store.feature_sets()]
    records = [[key, files.size(key), files.modified(key)] for key in keys]
    pending = [[features.key, features.state] for features in store.feature_sets()]
    usage = {part: size for part, size in disk_usage(store).items() if part not in ("report.html", "reports")}
    shown = {"summary": summary, "store": shown_path(store.url), "usage": usage}
    return fingerprint({"records": records, "features": pending, **shown, "code": sorted(_code())})


def marked(page: str, digest: str, place: str) -> bytes:
    """The page with the digest of what it was made from, a checksum, and its key in the store ("" for a page that lies
    elsewhere) in its head."""
    before, found, after = page.partition(_BEFORE)
    checksum = crc32c(memoryview(f"{page}{digest} {place}".encode()))
    return f'{before}<meta name="made-from" content="{digest} {checksum:08x} {place}">\n{found}{after}'.encode()


def is_fresh(page: bytes, digest: str, place: str) -> bool:
    """Whether it is a whole page that was made from this, for this place."""
    found = _MARK.search(page[:4096])
    return found is not None and found[1].decode() == digest and place_of(page) == place and is_whole(page)


def is_marked(page: bytes) -> bool:
    """Whether a page has such a mark, whole or not."""
    return _MARKED.search(page[:4096]) is not None


def is_whole(page: bytes) -> bool:
    """Whether a page is what was written, by the checksum in its head."""
    found = _MARK.search(page[:4096])
    if found is None:
        return False
    head = found[1] + found[3] if found[3] else b""  # an earlier version wrote no place
    return f"{crc32c(memoryview(page[: found.start()] + page[found.end() :] + head)):08x}" == found[2].decode()


def place_of(page: bytes) -> str | None:
    """The key that a page was written under; None where it does not say."""
    found = _MARK.search(page[:4096])
    return None if found is None or not found[3] else found[3].decode(errors="replace").strip()


def _code() -> Iterator[list[Any]]:
    """Each file of the package with its size and time: an older version that is put back has other times too."""
    top = Path(__file__).parents[1]
    for folder, _, names in os.walk(top):
        for name in names:
            if not name.endswith(".pyc"):
                path = os.path.join(folder, name)
                status = os.stat(path)
                yield [os.path.relpath(path, top), status.st_size, status.st_mtime_ns]
