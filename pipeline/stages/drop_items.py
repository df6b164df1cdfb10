"""Withdraw samples from a dataset of the store: their rows are overwritten everywhere, without another extraction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass

from structure.pipeline.lineage.dependents import (
    StoredSet,
    aligners_of,
    comparisons_of,
    embeddings_of,
    folders_of_aligner,
    holds_rows,
    neighbours_of,
    rankings_of,
)
from structure.pipeline.lineage.forget import REPORTS, forget_results, results_on
from structure.pipeline.progress import Progress
from structure.pipeline.run_context import RunContext
from structure.store import FeatureSet, Samples, Store
from structure.store.errors import StructureError, UsageError, nearest, unknown
from structure.store.sample_table import WITHDRAWN, withdrawn_id
from structure.store.sealed_tables import unpacked
from structure.store.seals import Seal, SealError
from structure.store.withdrawn import is_pending, withdraw_rows, withdrawn_rows

SHOWN = 5
"""Ids that a message names."""

WINDOWS = ("square-", "sliding-")
"""What the names of datasets of windows, which segmentations make of images, have behind that of the dataset."""


@dataclass(frozen=True)
class DropItemsRequest:
    """Withdraw the samples `ids` from every split of `dataset`; without ids, finish what an interrupted run began."""

    dataset: str
    _: KW_ONLY
    ids: Sequence[str] = ()


@dataclass(frozen=True)
class DroppedItems:
    """`samples` counts the withdrawn samples by split, `rows` the rows of each feature set that are overwritten;
    `removed` are keys of what held rows of them and goes, `results` counts by aligner the numbers that go, with the
    answers behind them; `stale` are sentences on what was made from them and stays, `elsewhere` (dataset, split, id) of
    samples with the same content under another name."""

    samples: Mapping[str, int]
    rows: Mapping[str, int]
    removed: tuple[str, ...]
    results: Mapping[str, int]
    stale: tuple[str, ...]
    elsewhere: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class _Split:
    """One split as it is and as it will be, and its feature sets that are to be overwritten."""

    before: Samples
    after: Samples
    features: tuple[FeatureSet, ...]

    @property
    def name(self) -> tuple[str, str]:
        return self.before.dataset, self.before.split

    @property
    def is_due(self) -> bool:
        return self.after is not self.before or bool(self.features)


def plan(request: DropItemsRequest, context: RunContext) -> DroppedItems:
    """What would be overwritten, removed and stale; touches nothing. Raises as `run` does."""
    return _described(context.store, _splits(request, context.store))


def run(request: DropItemsRequest, context: RunContext) -> DroppedItems:
    """Withdraw. The sample indexes are written first; what was made from the rows is removed; the rows come last.

    A run that is killed is finished by the same command, or by one without ids. Raises StructureError for an id that no
    split has, HeldError where somebody writes a feature set, ReadOnlyError where the store cannot be written.
    """
    context.require_writable("what is withdrawn")
    store = context.store
    splits = [split for split in _splits(request, store) if split.is_due]
    done = _described(store, splits)
    for split in splits:
        if split.after is not split.before:
            _forget_skipped(store, split)
            split.after.write(store.files)
    for key in done.removed:
        store.files.remove_tree(key)
    forget_results(store, {split.name for split in splits})
    rewritten = [(features, split.after) for split in splits for features in split.features]
    for number, (features, samples) in enumerate(rewritten, start=1):
        withdraw_rows(features, samples)
        context.on_event(Progress("withdrawing", number, len(rewritten), "feature sets"))
    for split in splits:
        store.files.sweep(f"samples/{split.before.dataset}")
    return done


def _splits(request: DropItemsRequest, store: Store) -> list[_Split]:
    """The splits of the dataset. Raises StructureError for a dataset or an id that is not there."""
    names = _split_names(store, request.dataset)
    if not names:
        known = sorted({key.split("/")[1] for key in store.files.keys("samples")})
        raise unknown("dataset", request.dataset, known, hint=f"The store is {store.url}.")
    if not request.ids and not any(store.samples(request.dataset, name).is_withdrawn.any() for name in names):
        raise UsageError(
            f"No sample of {request.dataset} was withdrawn before, so there is nothing to finish. Say which to "
            "withdraw: --ids FILE, one id a line."
        )
    wanted, found, splits = dict.fromkeys(request.ids), set[str](), []
    for name in names:
        before = store.samples(request.dataset, name)
        items = set(before.item_ids)
        here = items & wanted.keys()
        found |= here | {one for one in wanted if withdrawn_id(one) in items}
        after = before.without(here) if here else before
        sets = store.feature_sets(dataset=request.dataset, split=name)
        due = tuple(each for each in sets if is_pending(each, after))
        splits.append(_Split(before, after, due))
    missing = [one for one in wanted if one not in found]
    if missing:
        raise _missing(request.dataset, splits, missing, len(wanted))
    return splits


def _missing(dataset: str, splits: Sequence[_Split], missing: Sequence[str], asked: int) -> StructureError:
    """That some ids are of no sample: which, of how many, what was meant perhaps, and that nothing was changed."""
    known = [item for split in splits for item in split.before.item_ids]
    shown = ", ".join(map(repr, missing[:SHOWN])) + (f" and {len(missing) - SHOWN:,} more" * (len(missing) > SHOWN))
    close = nearest(missing[0], known, most=1)
    return StructureError(
        f"{len(missing):,} of the {asked:,} ids are of no sample of {dataset}: {shown}. Nothing was withdrawn, of the "
        f"others neither. {f'Did you mean {close[0]!r}? ' if close else ''}Ids are written as in the dataset, such as "
        f"{known[0]!r}; correct the file, or take these lines out."
    )


def _split_names(store: Store, dataset: str) -> list[str]:
    ends = (".skipped.parquet", ".crc32c")
    keys = [key.rpartition("/")[2] for key in store.files.keys(f"samples/{dataset}") if not key.endswith(ends)]
    return [key.removesuffix(".parquet") for key in keys]


def _described(store: Store, splits: Sequence[_Split]) -> DroppedItems:
    due = [split for split in splits if split.is_due]
    sets = [StoredSet(each.key, each.fingerprint) for split in due for each in split.features]
    aligners = sorted({name for one in sets for name in aligners_of(store, one)})
    holding = [name for name in aligners if holds_rows(store, name)]
    removed = [*_of_windows(store, splits[0].before.dataset if due else "")]
    removed += [neighbours_of(one) for one in sets if store.files.keys(neighbours_of(one))]
    removed += [prefix for one in sets for prefix in embeddings_of(store, one)]
    for name in holding:
        folders = [*folders_of_aligner(name), f"aligners/{name}"]
        removed += [*comparisons_of(store, name), *(folder for folder in folders if store.files.keys(folder))]
    results = results_on(store, {split.name for split in due})
    if results:
        removed.append(REPORTS)
    stale = [f"aligners/{name} was trained on the samples" for name in aligners if name not in holding]
    stale += [f"rankings/{name} was made with them" for one in sets for name in rankings_of(store, one)]
    return DroppedItems(
        {f"{split.before.dataset}/{split.before.split}": int(split.after.is_withdrawn.sum()) for split in due},
        {each.key: len(withdrawn_rows(each, split.after)) for split in due for each in split.features},
        tuple(dict.fromkeys(removed)),
        {name: len(gone) for name, gone in results.items() if name not in holding},
        tuple(dict.fromkeys(stale)),
        tuple(_elsewhere(store, due)),
    )


def _of_windows(store: Store, dataset: str) -> Iterator[str]:
    """Folders of the datasets of windows of its images: the next segmentation makes them again, without the samples."""
    if not dataset:
        return
    for kind in ("features", "samples", "neighbours"):
        for name in store.files.children(kind):
            if name.startswith(tuple(f"{dataset}.{mode}" for mode in WINDOWS)):
                yield f"{kind}/{name}"


def _elsewhere(store: Store, splits: Sequence[_Split]) -> Iterator[tuple[str, str, str]]:
    """Samples under other names with the content of one that is withdrawn now."""
    contents = {
        digest
        for split in splits
        for (_, digest), gone in zip(split.before.digests.values(), split.after.is_withdrawn, strict=True)
        if gone and digest not in ("", WITHDRAWN)
    }
    if not contents:
        return
    going = {split.name: set(split.after.item_ids) for split in splits}
    for dataset in store.files.children("samples"):
        for name in _split_names(store, dataset):
            for item, (_, digest) in store.samples(dataset, name).digests.items():
                if digest in contents and item in going.get((dataset, name), {item}):
                    yield dataset, name, item


def _forget_skipped(store: Store, split: _Split) -> None:
    """The list of skipped samples without what it says of those that are withdrawn."""
    key = Samples.file(*split.name).removesuffix(".parquet") + ".skipped.parquet"
    if not store.files.exists(key):
        return
    try:
        table = unpacked(store.files.read(key), Seal(key))
        listed = dict(zip(table["sample"].to_pylist(), table["reason"].to_pylist(), strict=True))
    except (SealError, KeyError):
        store.files.remove(key)  # damaged, it may still hold ids
        return
    gone = {item for item, left in zip(split.before.item_ids, split.after.item_ids, strict=True) if item != left}
    kept = {
        sample: reason
        for sample, reason in listed.items()
        if sample not in gone and sample.rpartition("#")[0] not in gone
    }
    store.put_skipped(*split.name, kept)
