"""A whole store: its feature sets, its sample tables, and the folders of what was made from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from structure.store.errors import DamageError, unknown
from structure.store.feature_set import FeatureSet
from structure.store.files import Files
from structure.store.files_at_url import open_files
from structure.store.manifest import Manifest
from structure.store.repair import recover_manifest
from structure.store.sample_table import Samples
from structure.store.sealed_tables import packed
from structure.store.seals import Seal
from structure.store.xarray_view import tree

if TYPE_CHECKING:
    import xarray as xr


class Store:
    """`store["coco/train/dinov2"]` is a feature set; iterating gives the keys."""

    def __init__(self, files: Files) -> None:
        self.files = files

    @property
    def url(self) -> str:
        return self.files.url

    def __repr__(self) -> str:
        return f"<Store {self.url}: {len(self.keys())} feature sets>"

    def keys(self) -> list[str]:
        """Keys `<dataset>/<split>/<encoder>` of every feature set, sorted."""
        return [
            f"{dataset}/{split}/{encoder}"
            for dataset in self.files.children("features")
            for split in self.files.children(f"features/{dataset}")
            for encoder in self.files.children(f"features/{dataset}/{split}")
        ]

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.files.exists(f"features/{key}/manifest.json")

    def __getitem__(self, key: str) -> FeatureSet:
        """Raises StructureError, offering what is there, for a key that is not."""
        try:
            return FeatureSet.open(self.files, f"features/{key}")
        except FileNotFoundError:
            raise unknown("feature set", key, self.keys(), hint=f"The store is {self.url}.") from None

    def recover(self, key: str) -> FeatureSet:
        """As `store[key]`, with a damaged manifest restored from its second copy. Raises DamageError without one."""
        try:
            return recover_manifest(self.files, f"features/{key}")
        except FileNotFoundError:
            raise unknown("feature set", key, self.keys(), hint=f"The store is {self.url}.") from None

    def feature_sets(
        self, *, dataset: str | None = None, split: str | None = None, without_kind: str | None = None
    ) -> list[FeatureSet]:
        """The feature sets of a dataset and split (None = any), in order of their keys; half-allocated ones are not.

        Those whose samples are of the kind `without_kind` (as `Samples.kind` says) are left out.
        """
        wanted = []
        for key in self.keys():
            its_dataset, its_split, _ = key.split("/")
            if dataset in (None, its_dataset) and split in (None, its_split) and key in self:
                wanted.append(self[key])
        if without_kind is None:
            return wanted
        splits = {(each.manifest.dataset, each.manifest.split) for each in wanted}
        left_out = {split for split in splits if Samples.kind_of(self.files, *split) == without_kind}
        return [each for each in wanted if (each.manifest.dataset, each.manifest.split) not in left_out]

    def to_xarray(self) -> xr.DataTree:
        """Every complete feature set as `store[key].to_xarray()`: `tree["coco/train/dinov2"]["block.11"]`."""
        sets = self.feature_sets()
        whole = {features.key: features.to_xarray() for features in sets if features.is_complete}
        return tree(whole, incomplete=[features.key for features in sets if features.key not in whole])

    def allocate(self, manifest: Manifest, samples: Samples, lengths: np.ndarray | None = None) -> FeatureSet:
        """Create or open a feature set whose rows are rows of `samples` (written to the store before).

        `lengths` (rows,) are the token counts of its texts, where their tokens are saved.
        """
        ids = samples.row_id_array(manifest.rows_of, manifest.captions, manifest.views)
        return FeatureSet.allocate(self.files, f"features/{manifest.key}", manifest, ids, lengths)

    def samples(self, dataset: str, split: str) -> Samples:
        """The sample index. Raises StructureError if the split was never extracted."""
        try:
            return Samples.read(self.files, dataset, split)
        except FileNotFoundError:
            known = [
                key.removeprefix("samples/")[:-8] for key in self.files.keys("samples") if key.endswith(".parquet")
            ]
            known = [name for name in known if not name.endswith(".skipped")]
            raise unknown("dataset split", f"{dataset}/{split}", known, hint=f"The store is {self.url}.") from None

    def put_samples(self, samples: Samples, *, append: bool = False) -> Samples:
        """Keep the sample index; one that is there must describe the same rows, or, under `append`, the first of them.

        Raises FingerprintError otherwise. Returns what is stored.
        """
        try:
            stored = Samples.read(self.files, samples.dataset, samples.split)
        except (FileNotFoundError, DamageError):
            samples.write(self.files)  # what was made from a damaged table still holds its rows by their digest
            return samples
        same = samples.table == stored.table
        if not same and not (append and samples.extends(stored)):
            samples.require_same(stored)
        if not same or samples.tasks != stored.tasks:
            samples.write(self.files)  # same rows; stamps, labels or class names are newer
        return samples

    def put_skipped(self, dataset: str, split: str, skipped: Mapping[str, str]) -> None:
        """Keep which samples could not be read, and why."""
        table = pa.table({"sample": list(skipped), "reason": list(skipped.values())})
        key = f"samples/{dataset}/{split}.skipped.parquet"
        self.files.write(key, packed(table, Seal(key)))

    def folder(self, *parts: str) -> Files:
        """The files of something made from features; nothing need be there yet."""
        return self.files.at("/".join(parts))


def open_store(url: str | Path) -> Store:
    """Open the store at a path or fsspec URL; it need not exist yet."""
    return Store(open_files(url))
