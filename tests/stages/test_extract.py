"""Extraction end to end: resumed, refused, repaired, grown; the same bytes whatever happened on the way."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from structure.pipeline import extract
from structure.pipeline.datasets.scenes import Scenes
from structure.pipeline.encoders import load_encoder
from structure.pipeline.progress import Event, Note, Progress
from structure.pipeline.stages.repair import repair
from structure.store import Store, StructureError, open_store
from structure.store.errors import BadSampleError, FingerprintError, NotPresentError, UsageError
from structure.store.lease import HeldError
from structure.store.shard_writer import lease_of
from tests.warm import Warm

VIT, TEXT = "bundled:scenes-vit", "bundled:scenes-text"


def tree(root: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def write_pairs(folder: Path, count: int, *, start: int = 0) -> Path:
    """A pairs file of real scenes as PNG files."""
    folder.mkdir(exist_ok=True)
    scenes = Scenes(split="train")
    lines = []
    for index in range(count):
        scenes.image(start + index).save(folder / f"{start + index}.png")
        lines.append({"id": f"s{index}", "image": f"{start + index}.png", "captions": scenes.item(index).captions[:2]})
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    return folder / "pairs.jsonl"


def test_stored_rows_are_what_the_encoder_gives_alone(scenes_store: Store) -> None:
    """A row depends on its sample alone: batches and shards change nothing beyond rounding."""
    vision, text = load_encoder(VIT), load_encoder(TEXT)
    scenes = Scenes(split="train")
    for encoder, name in ((vision, "scenes-vit"), (text, "scenes-text")):
        key = next(key for key in scenes_store if key.endswith(name))
        features = scenes_store[key]
        for row in (0, 63, 64, 239):
            source = scenes.image(row) if encoder is vision else scenes.item(row).captions[0]
            alone = encoder.encode([encoder.preprocess(source)])
            for layer in features.layers:
                stored = features.rows(layer, row, row + 1).astype(np.float32)
                expected = alone[layer].numpy()
                assert np.abs(stored - expected).max() <= 2e-3 * max(1.0, np.abs(expected).max()), (name, layer, row)


def test_every_layer_once_with_its_rows_in_the_table(scenes_store: Store) -> None:
    for features in scenes_store.feature_sets():
        assert features.is_complete
        assert features.verify() == []
        assert len(features) == 240
        assert "block.00" in features.layers
        assert features.manifest.identity["encoder"]["weights"]


def test_extracting_again_does_nothing(copied: Store) -> None:
    before = tree(Path(copied.url))
    events: list[Event] = []
    extract([VIT, TEXT], "scenes:240", store=copied, on_event=events.append)
    assert tree(Path(copied.url)) == before
    assert sum("in the store already" in event.text for event in events if isinstance(event, Note)) == 2


def test_killed_at_any_moment_the_bytes_are_those_of_an_uninterrupted_run(
    scenes_store: Store, tmp_path: Path, warm: Warm
) -> None:
    """kill -9 after the first and the sixth shard; then the same command to the end (many more: benchmarks/faults)."""
    code = (
        "import sys; from structure.pipeline import extract\n"
        "extract([sys.argv[1], sys.argv[2]], 'scenes:240', store=sys.argv[3])\n"
    )
    store = tmp_path / "store"
    for shards in (1, 6):
        process = warm.start(code, VIT, TEXT, str(store))
        deadline = time.monotonic() + 120
        while len(list(store.glob("features/*/*/*/done/*.json"))) < shards and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    extract([VIT, TEXT], "scenes:240", store=store)
    assert tree(store) == tree(Path(scenes_store.url))


def test_every_damaged_file_is_repaired_byte_for_byte(copied: Store) -> None:
    root = Path(copied.url)
    good = tree(root)
    random = np.random.default_rng(0)
    key = next(key for key in copied if key.endswith("scenes-vit"))
    names = [name for name in good if f"features/{key}/" in name or name.startswith("samples/")]
    chosen = [names[i] for i in random.permutation(len(names))[:12]]
    chosen += [name for name in names if name.endswith(("manifest.json", "vit/zarr.json", ".parquet", ".crc32c"))]
    for number, name in enumerate(dict.fromkeys(chosen)):
        data = bytearray(good[name])
        data[int(random.integers(len(data)))] ^= 1 << int(random.integers(8))
        if number % 3 == 1:
            (root / name).unlink()
        else:
            (root / name).write_bytes(data if number % 3 == 0 else data[: len(data) // 2])
        done = repair(key, store=copied)
        manifest_alone = name.endswith("manifest.json")
        assert done.faults or manifest_alone, name
        assert tree(root) == good, name


def test_code_of_a_model_runs_in_a_repair_only_where_that_is_said(copied: Store, trusted: list[bool]) -> None:
    for given in (False, True):
        key = next(key for key in copied if key.endswith("scenes-vit"))
        copied.files.remove(next(name for name in copied.files.keys(f"features/{key}") if "/c/" in name))
        repair(key, store=copied, trust_remote_code=given)
    assert trusted == [False, True]


def test_a_grown_dataset_is_refused_and_then_appended(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "data", 100)
    store = open_store(tmp_path / "store")
    extract([VIT, TEXT], f"pairs:{pairs}", store=store)
    old = store["data/all/scenes-vit"].rows("block.01")
    write_pairs(tmp_path / "data", 150)
    with pytest.raises(
        FingerprintError,
        match="has grown since it was extracted, from 100 to 150 samples. Extract them with --append",
    ):
        extract([VIT], f"pairs:{pairs}", store=store)
    events: list[Any] = []
    extract([VIT], f"pairs:{pairs}", store=store, append=True, on_event=events.append)
    grown = store["data/all/scenes-vit"]
    assert len(grown) == 150
    np.testing.assert_array_equal(grown.rows("block.01", 0, 100), old)
    extracted = [event for event in events if isinstance(event, Progress) and event.what.startswith("extracting")]
    assert extracted[0].done > 64  # the first, full shard was not read again
    for features in store.feature_sets():
        assert features.verify() == [], features
    extract([TEXT], f"pairs:{pairs}", store=store, append=True)
    assert len(store["data/all/scenes-text"]) == 150


def test_a_changed_picture_is_refused_with_its_name(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "data", 70)
    store = open_store(tmp_path / "store")
    extract([VIT], f"pairs:{pairs}", store=store)
    time.sleep(0.01)
    Image.new("RGB", (64, 64), (9, 9, 9)).save(tmp_path / "data" / "33.png")
    with pytest.raises(FingerprintError, match="1 samples differ, the first is 's33'"):
        extract([VIT], f"pairs:{pairs}", store=store)


def test_a_broken_picture_is_skipped_counted_and_listed_or_fails(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "data", 70)
    (tmp_path / "data" / "5.png").write_bytes((tmp_path / "data" / "5.png").read_bytes()[:60])
    store = open_store(tmp_path / "store")
    with pytest.raises(BadSampleError, match="s5"):
        extract([VIT], f"pairs:{pairs}", store=open_store(tmp_path / "other"), on_bad_sample="fail")
    events: list[Event] = []
    extract([VIT, TEXT], f"pairs:{pairs}", store=store, on_event=events.append)
    features = store["data/all/scenes-vit"]
    assert list(features.skipped) == [5]
    assert features.verify() == []
    assert any("1 of 70 samples could not be read" in e.text for e in events if isinstance(e, Note))
    assert (tmp_path / "store" / "samples" / "data" / "all.skipped.parquet").is_file()


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"pool": ["mean"]}, "extraction.pooling"),
        ({"layers": ["block.0*"]}, "extraction.layers"),
        ({"dtype": "fp32"}, "extraction.dtype"),
    ],
)
def test_other_options_are_refused_with_the_field(copied: Store, options: dict[str, Any], field: str) -> None:
    with pytest.raises(FingerprintError, match=field):
        extract([VIT], "scenes:240", store=copied, **options)


def test_several_poolings_are_kept_side_by_side(tmp_path: Path) -> None:
    extract([VIT], "scenes:70", store=tmp_path, pool=["cls", "mean"], layers=["block.00", "block.01"])
    features = open_store(tmp_path)[open_store(tmp_path).keys()[0]]
    assert features.layers == ("block.00@cls", "block.00@mean", "block.01@cls", "block.01@mean")


def test_a_dry_run_says_rows_bytes_and_time_and_writes_no_feature(tmp_path: Path) -> None:
    (planned,) = extract([VIT], "scenes:100", store=tmp_path, dry_run=True)
    row = planned.row()
    assert row["pending_rows"] == 100
    assert row["estimated_seconds"] > 0
    assert row["pending_bytes"] == row["bytes"]
    assert open_store(tmp_path).keys() == []


def test_a_shard_that_somebody_writes_is_left_to_them(copied: Store) -> None:
    key = next(key for key in copied if key.endswith("scenes-vit"))
    features = copied[key]
    for index in (1, 2):
        features.files.remove(f"{features.prefix}/done/{index:06d}.json")
    with lease_of(features, features.manifest.shards[2]), pytest.raises(HeldError, match=f"process {os.getpid()}"):
        extract([VIT], "scenes:240", store=copied)
    assert [shard.start for shard in copied[key].pending()] == [features.manifest.shards[2].start]


@pytest.mark.parametrize(
    ("model", "dataset", "error", "message"),
    [
        ("dinov22", "scenes", StructureError, "Unknown model 'dinov22'.*dinov2"),
        ("bundled:scenes-vit", "coko", StructureError, "Unknown dataset 'coko'.*coco"),
        ("bundled:scenes-vit", "coco", NotPresentError, "Looked for in"),
        ("hf:/nowhere/at/all", "scenes", NotPresentError, "not a folder"),
    ],
)
def test_what_is_unknown_or_absent_is_told(
    tmp_path: Path, model: str, dataset: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        extract([model], dataset, store=tmp_path / "store", data_root=tmp_path)
    assert not (tmp_path / "store").exists()


def test_layers_that_are_not_there_offer_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(StructureError, match=r"Unknown layer 'blok\.01'.*block\.01"):
        extract([VIT], "scenes:70", store=tmp_path, layers=["blok.01"])


@pytest.mark.parametrize(
    ("model", "options", "told"),
    [
        (VIT, {"captions": 3}, "--captions 3 counts captions"),
        (VIT, {"captions": "all"}, "--captions all counts captions"),
        (TEXT, {"views": 3}, "--views 3 counts views"),
    ],
)
def test_an_option_of_the_other_side_is_refused(model: str, options: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=told):
        extract(model, "scenes:4", store=tmp_path, **options)
    assert not (tmp_path / "features").exists()
