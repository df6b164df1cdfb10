"""Remove something from a store by its name, with what would dangle without it; say what refers to it and stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from structure.pipeline.aligners.aligner_runs import RECORD
from structure.pipeline.lineage.dependents import (
    StoredSet,
    aligners_by_ranking,
    aligners_of,
    comparisons_of,
    embeddings_of,
    folders_of_aligner,
    neighbours_of,
    rankings_of,
)
from structure.pipeline.run_context import RunContext
from structure.store import Samples, Store
from structure.store.errors import UsageError, unknown
from structure.store.lease import HeldError, leases_of

RECORDS = {
    "features": "manifest.json",
    "aligners": RECORD,
    "rankings": "ranking.json",
    "results": "results.parquet",
    "curves": "curve.json",
    "reports": "summary.json",
}
"""The file of each kind that makes it count: it goes first, so that half of something never looks whole."""


@dataclass(frozen=True)
class RemoveRequest:
    """Remove `name`: aligners/NAME, rankings/ID, results/ALIGNER, curves/NAME, reports/RECIPE,
    features/DATASET/SPLIT/ENCODER, or all the feature sets below features/DATASET or features/DATASET/SPLIT. Raises
    UsageError for anything else."""

    name: str

    def __post_init__(self) -> None:
        kind, _, rest = self.name.rstrip("/").partition("/")
        if kind not in RECORDS or not rest or (kind != "features" and "/" in rest):
            raise UsageError(
                f"{self.name!r} names nothing to remove. Write aligners/NAME, rankings/ID, results/ALIGNER, "
                "curves/NAME, reports/RECIPE or features/DATASET/SPLIT/ENCODER, as structure status and structure "
                "store ls list them."
            )

    @property
    def kind(self) -> str:
        """Which of `RECORDS`."""
        return self.name.partition("/")[0]

    @property
    def rest(self) -> str:
        """The name below its kind."""
        return self.name.rstrip("/").partition("/")[2]


@dataclass(frozen=True)
class RemovedPart:
    """A file or a folder that goes, why, and its bytes."""

    key: str
    why: str
    bytes: int
    is_folder: bool


@dataclass(frozen=True)
class Removal:
    """`parts` go, those that were made from others first; `stays` are sentences on what refers to them and stays."""

    parts: tuple[RemovedPart, ...]
    stays: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Of everything that goes."""
        return sum(part.bytes for part in self.parts)


def plan(request: RemoveRequest, context: RunContext) -> Removal:
    """What would be removed and what stays; touches nothing. Raises StructureError for what is not there."""
    store, rest = context.store, request.rest
    if request.kind == "features":
        return _of_features(store, rest)
    _require_there(store, request.kind, rest)
    parts, stays = [(request.name.rstrip("/"), "as asked")], []
    if request.kind == "rankings":
        stays = [
            f"aligners/{name}: its layers were chosen by this ranking; it stays as it is"
            for name in aligners_by_ranking(store, rest)
        ]
    if request.kind in ("aligners", "results"):
        parts = [(key, f"a comparison with {rest}") for key in comparisons_of(store, rest)] + parts
    if request.kind == "aligners":
        why = (f"evaluations of {rest}", f"embeddings by {rest}", f"the state of a training of {rest}")
        parts = [*zip(folders_of_aligner(rest), why, strict=True), *parts]
    return _measured(store, parts, stays)


def run(request: RemoveRequest, context: RunContext) -> Removal:
    """Remove. What was made from others goes first and the record of each before its other files, so that a killed run
    leaves nothing that refers to what is gone; the same command finishes it. Raises HeldError where somebody writes a
    feature set of it, ReadOnlyError where the store cannot be written."""
    found, files = plan(request, context), context.store.files
    context.require_writable("what is removed")
    _require_free(context.store, [part.key for part in found.parts if part.key.startswith("features/")])
    for part in found.parts:
        if not part.is_folder:
            files.remove(part.key)
            continue
        record = RECORDS.get(part.key.partition("/")[0])
        if record is not None:
            files.remove(f"{part.key}/{record}")
        files.remove_tree(part.key)
    return found


def _of_features(store: Store, prefix: str) -> Removal:
    keys = [key for key in store if f"{key}/".startswith(f"{prefix}/")]
    if not keys:
        raise unknown("feature set", prefix, store.keys(), hint=f"The store is {store.url}.")
    parts: list[tuple[str, str]] = []
    stays: list[str] = []
    for key in keys:
        features = StoredSet.of(store, key)
        parts += [(folder, f"embeddings of {key}") for folder in embeddings_of(store, features)]
        parts += [(f"rankings/{name}", f"a ranking of {key}") for name in rankings_of(store, features)]
        parts += [(neighbours_of(features), f"neighbours of {key}"), (f"features/{key}", "as asked")]
        stays += [f"aligners/{name}: trained on {key}; it stays and works" for name in aligners_of(store, features)]
    for split in sorted({key.rpartition("/")[0] for key in keys}):
        left = [key for key in store if key.startswith(f"{split}/") and key not in keys]
        table = Samples.file(*split.split("/"))
        if not left:
            ends = ("", ".crc32c")
            parts += [(f"{table}{end}", f"the sample index of {split}, which has no features left") for end in ends]
            parts.append((table.removesuffix(".parquet") + ".skipped.parquet", "its skipped samples"))
    return _measured(store, list(dict.fromkeys(parts)), list(dict.fromkeys(stays)))


def _measured(store: Store, parts: Sequence[tuple[str, str]], stays: Sequence[str]) -> Removal:
    """The parts that are there, each once, with their bytes."""
    found: dict[str, RemovedPart] = {}
    for key, why in parts:
        inside = store.files.keys(key)
        files = inside or ([key] if store.files.exists(key) else [])
        if files and key not in found:
            found[key] = RemovedPart(key, why, sum(store.files.size(file) for file in files), bool(inside))
    return Removal(tuple(found.values()), tuple(stays))


def _require_there(store: Store, kind: str, name: str) -> None:
    there = store.files.children(kind)
    if name not in there:
        raise unknown(kind.removesuffix("s"), name, there, hint=f"The store is {store.url}.")


def _require_free(store: Store, folders: Sequence[str]) -> None:
    """Raises HeldError where somebody alive writes one of these feature sets."""
    for folder in folders:
        if not all(lease.is_stale() for lease in leases_of(store.files, folder)):
            raise HeldError(f"{folder} is being written. Wait for it, or stop it, and remove it then.")
