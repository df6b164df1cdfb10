"""Files and folders of a store that nothing refers to any more, and why each may go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from structure.pipeline.inference.embedding_records import embedding_prefixes, why_stale
from structure.store.errors import ReadOnlyError, StructureError
from structure.store.lease import FOLDER, Lease, leases_of
from structure.store.store import Store


@dataclass(frozen=True)
class Orphan:
    """A file or folder (`key` ends in "/") that nothing refers to, why, and its bytes."""

    key: str
    why: str
    bytes: int


def orphans(store: Store) -> Iterator[Orphan]:
    """Half-written files, leases of processes that have ended, half-allocated feature sets, and neighbour tables and
    embeddings of what has changed."""
    files = store.files
    for prefix in (*(f"features/{key}" for key in store), *embedding_prefixes(store)):
        for lease in leases_of(files, prefix):
            if lease.is_stale():
                yield Orphan(lease.key, "a lease of a process that has ended", files.size(lease.key))
    for key in files.unfinished(""):
        yield Orphan(key, "a write that was interrupted", files.size(key))
    for key in store:
        if key not in store:
            yield _folder(store, f"features/{key}", "a feature set that was never allocated whole")
    for prefix in embedding_prefixes(store):
        why = why_stale(store, prefix)
        if why:
            yield _folder(store, prefix, why)
    contents: dict[str, str] = {}
    for key in _neighbour_folders(store):
        owner, _, name = key.removeprefix("neighbours/").rpartition("/")
        if owner not in contents:
            contents[owner] = _content(store, owner)
        if not contents[owner]:
            yield _folder(store, key, f"neighbours of {owner}, which is not there or not whole")
        elif not name.startswith(contents[owner]):
            yield _folder(store, key, f"neighbours of earlier values of {owner}")


def remove(store: Store, leftover: Orphan) -> None:
    """Remove it. Raises ReadOnlyError where the store cannot be written."""
    if not store.files.writable:
        raise ReadOnlyError(f"{store.url} cannot be written: nothing of it can be removed.")
    if f"/{FOLDER}/" in leftover.key:
        Lease(store.files, leftover.key, what=leftover.key).discard_stale()  # somebody may have taken it meanwhile
    elif leftover.key.endswith("/"):
        store.files.remove_tree(leftover.key.rstrip("/"))
    else:
        store.files.remove(leftover.key)


def _neighbour_folders(store: Store) -> list[str]:
    return sorted({key.rpartition("/")[0] for key in store.files.keys("neighbours")})


def _content(store: Store, key: str) -> str:
    try:
        features = store[key]
        return features.content()[:16] if features.is_complete else ""
    except StructureError:
        return ""


def _folder(store: Store, prefix: str, why: str) -> Orphan:
    return Orphan(f"{prefix}/", why, sum(store.files.size(key) for key in store.files.keys(prefix)))
