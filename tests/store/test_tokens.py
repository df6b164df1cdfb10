"""Token columns of a feature set: any order of rows, any range, packed or not, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from structure.store import Column, FeatureSet, Rows, SampleItem, Samples, Store, StructureError, Tokens, open_store
from structure.store.cast import Float16OverflowError
from structure.store.column_layout import plan_tokens
from structure.store.manifest import lengths_digest
from structure.store.shard_writer import ShardWriter, write_shard

ROWS = 300
LENGTHS = np.random.default_rng(0).integers(1, 12, ROWS)
VALUES = [
    np.random.default_rng(row).standard_normal((length, 6)).astype(np.float16) for row, length in enumerate(LENGTHS)
]


def texts(store: Store, manifest, level: int | None = None) -> FeatureSet:
    """A set of texts whose pooled layers are done, its tokens pending."""
    samples = Samples.build("toy", "train", [SampleItem(f"item{i}", (f"caption {i}",)) for i in range(ROWS)])
    made = manifest(modality="text", zstd_level=level)
    column = plan_tokens(Column("block.00", 6), made.shards, lengths=LENGTHS)
    made = replace(made, tokens=(column,), lengths=lengths_digest(LENGTHS))
    features = store.allocate(made, store.put_samples(samples), LENGTHS)
    for shard in features.pending():
        write_shard(features, shard, {c.name: np.ones((len(shard), c.width), np.float32) for c in made.columns})
    return features


def fill(features: FeatureSet, values: list[np.ndarray], order: np.random.Generator) -> None:
    for shard, names in features.pending().items():
        assert names == ("tokens/block.00",)
        rows = shard.start + order.permutation(len(shard))
        with ShardWriter(features, shard) as writer:
            for part in np.array_split(rows, 5):
                lengths = [len(values[row]) for row in part]
                writer.put("tokens/block.00", part, np.concatenate([values[row] for row in part]), lengths)
            writer.commit()


@pytest.fixture(params=[None, 1])
def filled(request: pytest.FixtureRequest, store: Store, manifest) -> FeatureSet:
    features = texts(store, manifest, request.param)
    fill(features, VALUES, np.random.default_rng(1))
    return store[features.key]


def test_every_range_of_rows_is_read_back(filled: FeatureSet) -> None:
    assert filled.is_complete
    assert filled.verify() == []
    for start, stop in ((0, 300), (0, 1), (63, 65), (64, 128), (299, 300), (10, 10)):
        tokens = filled.tokens("block.00", start, stop)
        assert tokens.lengths.tolist() == LENGTHS[start:stop].tolist()
        for row in range(start, stop):
            np.testing.assert_array_equal(tokens.row(row - start), VALUES[row])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example([0, 0, 2])
@given(st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=40))
def test_any_rows_are_read_in_any_order_and_twice(filled: FeatureSet, numbers: list[int]) -> None:
    tokens = Rows(filled, "tokens/block.00", np.array(numbers))[:]
    assert isinstance(tokens, Tokens)
    assert len(tokens) == len(numbers)
    for place, row in enumerate(numbers):
        np.testing.assert_array_equal(tokens.row(place), VALUES[row])


def test_plain_zarr_reads_them_by_start_and_length(filled: FeatureSet, tmp_path: Path) -> None:
    group = zarr.open_group(Path(filled.files.url) / filled.prefix / "tokens", mode="r")
    start, length, values = group["start"][:], group["length"][:], group["block.00"][:]
    for row in range(ROWS):
        np.testing.assert_array_equal(values[start[row] : start[row] + length[row]], VALUES[row])
    assert np.isnan(values).all(axis=1).sum() == len(values) - LENGTHS.sum()


def test_reading_a_row_touches_its_chunk_alone(filled: FeatureSet) -> None:
    (column,) = filled.manifest.tokens
    folder = Path(filled.files.url) / filled.prefix / "tokens" / "block.00" / "c"
    starts = zarr.open_group(folder.parents[1], mode="r")["start"][:]
    chunks = set(range(int(starts[70]) // column.chunk, (int(starts[70]) + int(LENGTHS[70]) - 1) // column.chunk + 1))
    for path in folder.iterdir():
        if int(path.name) not in chunks:
            (path / "0").unlink()
    np.testing.assert_array_equal(filled.tokens("block.00", 70, 71).values, VALUES[70])
    with pytest.raises(StructureError, match="is missing. Repair the feature set"):
        filled.tokens("block.00")


def test_other_tokens_than_planned_are_refused(store: Store, manifest) -> None:
    features = texts(store, manifest)
    with ShardWriter(features, features.manifest.shards[0]) as writer:
        with pytest.raises(StructureError, match=rf"row 3 has 40 tokens now and {LENGTHS[3]} were planned"):
            writer.put("tokens/block.00", [3], np.ones((40, 6)), [40])
        writer.put("tokens/block.00", [3], VALUES[3], [len(VALUES[3])])
        with pytest.raises(ValueError, match="each row once"):
            writer.put("tokens/block.00", [3], VALUES[3], [len(VALUES[3])])
        with pytest.raises(ValueError, match="a shard is written whole"):
            writer.commit()
    assert len(features.pending()) == 5


@pytest.mark.parametrize(("bad", "error"), [(np.nan, StructureError), (70000.0, Float16OverflowError)])
def test_a_bad_value_names_layer_sample_and_token(store: Store, manifest, bad: float, error: type[Exception]) -> None:
    features = texts(store, manifest)
    values = [part.astype(np.float32) for part in VALUES]
    row = int(np.flatnonzero(LENGTHS > 5)[0])
    values[row][4, 2] = bad
    with pytest.raises(error, match=rf"tokens/block.00, sample item{row}, token 4 \(feature 2\)"):
        fill(features, values, np.random.default_rng(0))
    if error is Float16OverflowError:
        wide = features.widen("tokens/block.00")
        fill(wide, values, np.random.default_rng(0))
        assert wide.verify() == []
        assert wide.tokens("block.00", row, row + 1).values[4, 2] == 70000.0
        assert wide.manifest.column("block.00").dtype == "float16"


@given(st.lists(st.integers(0, 6), min_size=1, max_size=9))
def test_padding_keeps_every_token_and_marks_it(lengths: list[int]) -> None:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tokens = Tokens(np.arange(1.0, offsets[-1] + 1)[:, None] * np.ones((1, 3)), offsets)
    values, mask = tokens.padded()
    assert values.shape == (len(lengths), max(lengths), 3)
    assert mask.sum(axis=1).tolist() == lengths
    np.testing.assert_array_equal(values[mask], tokens.values)
    assert (values[~mask] == 0).all()


def test_the_same_store_behind_a_url(manifest) -> None:
    features = texts(open_store("memory://tokens-test"), manifest)
    fill(features, VALUES, np.random.default_rng(2))
    assert features.verify() == []
    np.testing.assert_array_equal(features.tokens("block.00", 60, 70).values, np.concatenate(VALUES[60:70]))
    assert features.tokens_to_xarray()["block.00"].dims == ("token", "feature")
