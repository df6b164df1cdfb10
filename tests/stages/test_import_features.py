"""Precomputed features: what is saved, how rows are matched, and what is refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from structure.pipeline import import_features
from structure.pipeline.datasets.loading import open_dataset
from structure.pipeline.extraction.stored_or_extracted import EncoderRecord, FeatureSource
from structure.pipeline.pairing.pairs import pair_rows
from structure.pipeline.progress import Event, Note
from structure.pipeline.run_context import RunContext
from structure.store import FeatureSet, StructureError, open_store
from structure.store.errors import FingerprintError, NotPresentError

ROWS = 70


@pytest.fixture
def layers() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {f"block.{i:02d}": random.standard_normal((ROWS, 4 + i)).astype(np.float32) for i in range(3)}


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A pairs file: ids, two captions each, a label."""
    file = tmp_path / "pairs.jsonl"
    lines = [
        {"id": f"cell{i}", "captions": [f"a cell {i}", f"cell number {i}"], "label": "round" if i % 2 else "flat"}
        for i in range(ROWS)
    ]
    from PIL import Image

    for i, line in enumerate(lines):
        Image.new("RGB", (4, 4), (i, 0, 0)).save(tmp_path / f"{i}.png")
        line["image"] = f"{i}.png"
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


def imported(tmp_path: Path, arrays: dict[str, Any], **options: Any) -> FeatureSet:
    file = tmp_path / "features.npz"
    np.savez(file, **arrays)
    settings = {"model": "vit", "modality": "vision", "dataset": "cells", "store": tmp_path / "store", **options}
    return import_features(file, **settings)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_values_are_kept_exactly(tmp_path: Path, layers: dict[str, np.ndarray], suffix: str) -> None:
    layers["half"] = layers["block.00"].astype(np.float16)
    file = tmp_path / f"features{suffix}"
    if suffix == ".npz":
        np.savez(file, **layers)
    else:
        save_file(layers, file)
    features = import_features(file, model="vit", modality="vision", dataset="cells", store=tmp_path / "store")
    assert features.verify() == []
    for name, values in layers.items():
        np.testing.assert_array_equal(features.rows(name), values)
    assert features.manifest.column("half").dtype == "float16"


def test_ids_put_rows_in_the_order_of_the_pairs_file(
    tmp_path: Path, layers: dict[str, np.ndarray], pairs: Path
) -> None:
    order = np.random.default_rng(1).permutation(ROWS)
    shuffled = {name: values[order] for name, values in layers.items()}
    ids = np.array([f"cell{i}" for i in order])
    features = imported(tmp_path, {**shuffled, "ids": ids}, samples=str(pairs))
    np.testing.assert_array_equal(features.rows("block.02"), layers["block.02"])
    assert features.ids[3] == "cell3"
    samples = open_store(tmp_path / "store").samples("cells", "train")
    assert samples.texts(1)[5] == "a cell 5"
    assert samples.tasks["label"]["classes"] == ["flat", "round"]


def test_text_features_may_be_one_an_item_or_one_a_caption(
    tmp_path: Path, layers: dict[str, np.ndarray], pairs: Path
) -> None:
    first = imported(tmp_path, layers, model="bert", modality="text", samples=str(pairs))
    assert first.manifest.captions == 1
    both = imported(tmp_path, {"x": np.ones((2 * ROWS, 3), np.float32)}, model="all", modality="text")
    assert both.manifest.captions is None


@pytest.mark.parametrize("column", [True, False])
def test_features_that_are_there_need_no_pictures(
    tmp_path: Path, layers: dict[str, np.ndarray], pairs: Path, column: bool
) -> None:
    for picture in tmp_path.glob("*.png"):
        picture.unlink()
    if not column:
        rows = [json.loads(line) for line in pairs.read_text().splitlines()]
        pairs.write_text("\n".join(json.dumps({k: v for k, v in row.items() if k != "image"}) for row in rows))
    notes: list[Event] = []
    features = imported(tmp_path, layers, samples=str(pairs), on_event=notes.append)
    assert not [event for event in notes if isinstance(event, Note)]
    assert features.ids[3] == "cell3"
    samples = open_store(tmp_path / "store").samples("cells", "train")
    assert set(samples.digests.values()) == {("", "")}
    texts = imported(tmp_path, layers, model="bert", modality="text", samples=str(pairs))
    assert len(pair_rows(open_store(tmp_path / "store"), features, texts)) == ROWS
    with pytest.raises(StructureError, match="none of the first 8 images" if column else "no column image"):
        open_dataset(f"pairs:{pairs}", data_root=tmp_path)


def test_the_same_file_again_is_the_same_feature_set(tmp_path: Path, layers: dict[str, np.ndarray]) -> None:
    once = imported(tmp_path, layers)
    assert imported(tmp_path, layers).fingerprint == once.fingerprint
    layers["block.00"][0, 0] += 1
    with pytest.raises(FingerprintError, match=r"data\.values"):
        imported(tmp_path, layers)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "holds no array"),
        ({"a": np.ones((3, 4, 5, 2), np.float32)}, r"'a' is float32 of shape \(3, 4, 5, 2\)"),
        ({"a": np.ones((3, 4), np.int64)}, "'a' is int64"),
        ({"a": np.ones((3, 4), np.float32), "b": np.ones((4, 4), np.float32)}, "different numbers of rows .a 3, b 4"),
        ({"a": np.ones((2, 4), np.float32), "ids": np.array(["x", "x"])}, "'x'"),
        ({"a": np.full((2, 4), np.nan, np.float32)}, "'a' holds a NaN .* in 2 of 2 rows, first in row 0"),
        ({"../a": np.ones((2, 4), np.float32)}, "cannot be a name in the store"),
    ],
)
def test_bad_arrays_are_told(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(StructureError, match=message):
        imported(tmp_path, arrays)


def test_rows_that_do_not_fit_the_data_are_refused(tmp_path: Path, layers: dict[str, np.ndarray], pairs: Path) -> None:
    short = {name: values[:-1] for name, values in layers.items()}
    with pytest.raises(StructureError, match=r"69 rows; cells/train needs 70"):
        imported(tmp_path, short, samples=str(pairs))
    wrong = {**layers, "ids": np.array([f"other{i}" for i in range(ROWS)])}
    with pytest.raises(StructureError, match=r"no row for 70 of 70 ids .* the first is 'cell0'"):
        imported(tmp_path, wrong, samples=str(pairs))


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "owned",))

    with pytest.raises(StructureError, match="does not read"):
        imported(tmp_path, {"a": np.array([Trap()], dtype=object)})
    (tmp_path / "features.npz").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(StructureError, match="does not read"):
        import_features(tmp_path / "features.npz", model="m", modality="vision", dataset="d", store=tmp_path / "store")
    assert not (tmp_path / "owned").exists()


def test_a_missing_file_and_a_wrong_kind_are_told(tmp_path: Path) -> None:
    with pytest.raises(NotPresentError, match=r"no file .*none\.npz"):
        import_features(tmp_path / "none.npz", model="m", modality="vision", dataset="d", store=tmp_path)
    (tmp_path / "a.h5").write_bytes(b"x")
    with pytest.raises(StructureError, match=r"from .npz, .safetensors, .npy, .pt, .pth or .parquet, not '\.h5'"):
        import_features(tmp_path / "a.h5", model="m", modality="vision", dataset="d", store=tmp_path)


def test_what_imported_features_lack_is_told(tmp_path: Path, layers: dict[str, np.ndarray], pairs: Path) -> None:
    images = imported(tmp_path, layers, samples=str(pairs))
    store = open_store(tmp_path / "store")
    with pytest.raises(NotPresentError, match="vit was imported: .* structure import FILE --model vit"):
        FeatureSource(RunContext.of(store, device="cpu")).encoder(EncoderRecord.of(images))
