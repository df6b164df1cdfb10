"""What `verify` says of ids and of the sample index."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from structure.store import FeatureSet, Manifest, SampleItem, Samples, Store
from structure.store.errors import DamageError
from structure.store.zarr_metadata import zarr_documents

TABLE = "samples/toy/train.parquet"


def described(number: int, name: str = "item") -> SampleItem:
    return SampleItem(f"{name}{number}", (f"caption {number}", f"other words {number}"), digest=f"{number:x}")


def told(features: FeatureSet) -> list[str]:
    return [str(fault) for fault in features.verify()]


def test_ids_that_are_others_are_told_by_their_row(features: FeatureSet) -> None:
    ids = features.ids.tolist()
    ids[7] = "somebody"
    for name, data in zarr_documents(features.manifest, ids).items():
        features.files.write(f"{features.prefix}/{name}", data)
    assert told(features) == [f"toy/train/vit: row 7 is 'somebody', and 'item7' in the sample index {TABLE}"]


def test_damaged_ids_are_told(features: FeatureSet) -> None:
    key = f"{features.prefix}/sample/c/0"
    data = bytearray(features.files.read(key))
    data[20] ^= 1
    features.files.write(key, data)
    (fault,) = told(features)
    assert fault.startswith("toy/train/vit: the zarr metadata or the sample ids do not read (DamageError: ")


def test_metadata_that_are_others_are_told_by_their_file(features: FeatureSet) -> None:
    for name in ("block.00/zarr.json", "sample/zarr.json"):
        features.files.write(f"{features.prefix}/{name}", features.files.read(f"{features.prefix}/{name}") + b"\n")
    features.files.remove(f"{features.prefix}/block.01/zarr.json")
    assert told(features) == [
        "toy/train/vit: block.00/zarr.json is not what was written",
        "toy/train/vit: block.01/zarr.json is missing",
        "toy/train/vit: sample/zarr.json is not what was written",
    ]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda items: [*items, described(300), described(301)], []),
        (lambda items: items[:-1], [f"300 rows, and 299 in the sample index {TABLE}"]),
        (
            lambda items: [*items[:4], described(4, "other"), *items[5:]],
            [f"row 4 is 'item4', and 'other4' in the sample index {TABLE}"],
        ),
    ],
)
def test_a_sample_index_that_is_another_is_told(
    store: Store,
    features: FeatureSet,
    change: Callable[[list[SampleItem]], list[SampleItem]],
    expected: list[str],
) -> None:
    items = change([described(number) for number in range(300)])
    Samples.build("toy", "train", items).write(store.files)
    assert told(features) == [f"toy/train/vit: {what}" for what in expected]


def test_a_row_is_told_that_is_finite_where_it_was_skipped_or_the_other_way(features: FeatureSet) -> None:
    """As `all_finite` passes whole chunks, the row is still found where one does not."""
    values = features.rows("embed", 64, 128).copy()
    values[3, 2] = np.inf
    from structure.store.chunk import write_chunk
    from structure.store.completion_markers import CompletionMarker

    key = f"{features.prefix}/{features.layout('embed').chunk_key(1)}"
    checksum = write_chunk(features.files, key, values, rows=64, level=None)
    marker = features.completion.read(1)
    assert marker is not None
    columns = {**marker.columns, "embed": ("float16", (checksum,))}
    features.completion.write(1, CompletionMarker(64, 128, columns, {70: "cut short"}))
    found = told(features)
    assert "toy/train/vit: rows 64-127: layer embed: row 67 is not finite" in found
    assert "toy/train/vit: rows 64-127: layer block.00: row 70 is finite, but was skipped" in found


def test_the_manifest_of_another_feature_set_is_refused_and_restored(
    store: Store, samples: Samples, features: FeatureSet, manifest: Callable[..., Manifest]
) -> None:
    other = store.allocate(manifest(encoder="other"), samples)
    own = store.files.read(f"{features.prefix}/manifest.json")
    store.files.write(f"{features.prefix}/manifest.json", store.files.read(f"{other.prefix}/manifest.json"))
    with pytest.raises(DamageError, match="not its own: it is that of toy/train/other") as told:
        store["toy/train/vit"]
    assert told.value.feature_set == "toy/train/vit"
    assert store.recover("toy/train/vit").verify() == []
    assert store.files.read(f"{features.prefix}/manifest.json") == own
