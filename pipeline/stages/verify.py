"""Whether what stages left in a store is what they wrote: aligners, rankings, results, recipes, curves, caches."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from structure.pipeline.aligners.aligner_runs import WEIGHTS
from structure.pipeline.owned_files import KINDS, PAGE, damaged, kind_of
from structure.pipeline.page.freshness import is_marked, is_whole, place_of
from structure.pipeline.results import FILE, every_result, read_predictions
from structure.store import Store
from structure.store.errors import DamageError
from structure.store.sealed_tables import listed_beside, unpacked
from structure.store.seals import LISTED, Seal, SealError, json_of, read_json, read_listed, require_content, require_own

LOOK_AFTER_THEMSELVES = ("features", "embeddings")
"""Folders of feature sets, which `FeatureSet.verify` checks."""

PREDICTIONS = "predictions"


@dataclass
class CheckedKind:
    """How many files of one kind there are, how many of them hold no digest because an earlier version wrote them, and
    what is wrong with the others: key -> a sentence with what to type."""

    name: str
    files: int = 0
    without_digest: int = 0
    faults: dict[str, str] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """Flat JSON values; `faults` are counted."""
        counts = {"files": self.files, "faults": len(self.faults), "without digest": self.without_digest}
        return {"kind": self.name, **counts}


def verify_files(store: Store) -> list[CheckedKind]:
    """Every kind of which there are files, or should be, in the order of `KINDS`."""
    found = {kind.name: CheckedKind(kind.name) for kind in KINDS}
    records: dict[str, list[str]] = {}
    for key in store.files.keys(""):
        of = None if key.partition("/")[0] in LOOK_AFTER_THEMSELVES else kind_of(key)
        if of is None:
            continue
        kind, groups = of
        found[kind.name].files += 1
        if kind.shows and not store.files.exists(shown := kind.shows.format(**groups)):
            _tell(store, shown, SealError(f"is missing, and {key} shows it"), found)
        if kind.record:
            records.setdefault(kind.record.format(**groups), []).append(key)
            continue
        if kind.lists:
            records.setdefault("/".join(key.split("/")[:3]), [])
        try:
            found[kind.name].without_digest += not _is_sealed(store, key, page=key.endswith(PAGE))
        except SealError as error:
            _tell(store, key, error, found)
    for record, keys in records.items():
        _check_listed(store, record, keys, found)
    for name in store.files.children("results"):
        _check_predictions(store, name, found)
    return [kind for kind in found.values() if kind.files or kind.faults]


def _is_sealed(store: Store, key: str, *, page: bool) -> bool:
    """Whether a file holds a digest. Raises SealError where it does not fit, or the file is that of another place."""
    data = store.files.read(key)
    if not page and require_own(data, Seal(key), any_owner=True) is not None:
        return True
    if page and is_marked(data):
        if not is_whole(data):
            raise SealError("is not what was written")
        written = place_of(data)
        if written not in (None, key):
            raise SealError(f"is not its own: {written or 'a page outside a store'} was written, and lies in its place")
    _require_form(key, data)
    return page and is_marked(data)


def _require_form(key: str, data: bytes) -> None:
    """What can be said of a file without a digest: that it is whole enough to be read. Raises SealError."""
    require_content(data)
    if key.endswith(".parquet"):
        columns = unpacked(data).column_names
        if key.endswith(".skipped.parquet") and columns != ["sample", "reason"]:
            raise SealError(f"is no list of skipped samples: its columns are {', '.join(columns)}")
    elif key.endswith(".json"):
        json_of(data, Seal(key))
    elif key.endswith(".png") and b"IEND" not in data[-16:]:
        raise SealError("does not read: it is cut off")
    elif key.endswith(".npz"):
        try:
            bad = zipfile.ZipFile(io.BytesIO(data)).testzip()
        except zipfile.BadZipFile as error:
            raise SealError(f"does not read: {error}") from None
        if bad is not None:
            raise SealError(f"does not read: {bad} has changed")


def _tell(store: Store, key: str, error: SealError, found: dict[str, CheckedKind]) -> None:
    kind = kind_of(key)
    if kind is not None:
        found[kind[0].name].faults.setdefault(key, str(damaged(store.files, key, error)))


def _check_listed(store: Store, record: str, keys: list[str], found: dict[str, CheckedKind]) -> None:
    """The files that a record lists: those that are there, and those that should be."""
    place = record.rpartition("/")[0]
    folder = store.files.at(place)
    try:
        listed = _listed(store, record)
    except FileNotFoundError:
        _tell(store, record, SealError("is missing, and what belongs to it is there"), found)
        return
    except SealError:
        return  # told already, and nobody can say what it lists
    names = {key.removeprefix(f"{place}/") for key in keys}
    for name in sorted(names | set(listed or ())):
        try:
            read_listed(folder, name, listed)
        except SealError as error:
            _tell(store, f"{place}/{name}", error, found)


def _listed(store: Store, record: str) -> dict[str, str] | None:
    """Name -> SHA-256 of what a record lists; None for one of an earlier version."""
    if not record.endswith(f"/{PREDICTIONS}"):
        body = read_json(store.files, record)
        listed = body.get(LISTED)
        weights = {WEIGHTS: body["weights_sha256"]} if "weights_sha256" in body else {}
        return None if listed is None else {**listed, **weights}
    every: dict[str, str] = {}
    for key in _tables(store, record):
        listed = listed_beside(unpacked(store.files.read(key), Seal(key), any_owner=True))
        if listed is None:
            return None
        every |= listed
    return every


def _tables(store: Store, record: str) -> Iterator[str]:
    """The predictions of an aligner. Raises FileNotFoundError where there are none."""
    keys = store.files.keys(record)
    if not keys:
        raise FileNotFoundError(record)
    yield from keys


def _check_predictions(store: Store, aligner: str, found: dict[str, CheckedKind]) -> None:
    """Whether every question that was answered has its predictions, of that answer."""
    folder = store.folder("results", aligner)
    if not folder.exists(FILE) and folder.keys(PREDICTIONS):
        _tell(store, f"results/{aligner}/{FILE}", SealError("is missing, and its predictions are there"), found)
    try:
        results = every_result(folder)
    except DamageError:
        return  # told already
    for result in {one.question: one for one in results}.values():
        try:
            read_predictions(folder, result)
        except DamageError as error:
            found[PREDICTIONS].faults.setdefault(f"results/{aligner}/predictions/{result.file}", str(error))
