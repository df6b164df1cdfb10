"""Precomputed features in the files that people have: each value exactly, each row with its id, advice that works."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from structure.cli.main import run
from structure.pipeline import import_features
from structure.pipeline.datasets.feature_files import read_feature_file
from structure.pipeline.progress import Event, Note
from structure.store import FeatureSet, open_store
from structure.store.errors import StructureError

VALUES = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
STACK = np.random.default_rng(1).standard_normal((6, 3, 4)).astype(np.float32)
IDS = [f"cell{number}" for number in range(6)]


def imported(file: Path, **options: Any) -> FeatureSet:
    settings = {"model": "vit", "modality": "vision", "dataset": "cells", "store": file.parent / "store", **options}
    return import_features(file, **settings)


def save_list(file: Path) -> None:
    torch.save(list(torch.tensor(STACK).unbind(1)), file)


@pytest.mark.parametrize(
    ("name", "save", "layers"),
    [
        ("a.npy", lambda file: np.save(file, VALUES), {"features": VALUES}),
        ("a.npy", lambda file: np.save(file, STACK), {f"features.{i:02d}": STACK[:, i] for i in range(3)}),
        ("a.npz", lambda file: np.savez(file, feats=STACK), {f"feats.{i:02d}": STACK[:, i] for i in range(3)}),
        ("a.pt", lambda file: torch.save(torch.tensor(VALUES), file), {"features": VALUES}),
        ("a.pth", save_list, {f"features.{i:02d}": STACK[:, i] for i in range(3)}),
        (
            "a.pt",
            lambda file: torch.save({"feats": torch.tensor(STACK), "num_params": 7, "loss": torch.ones(6)}, file),
            {f"feats.{i:02d}": STACK[:, i] for i in range(3)},
        ),
        (
            "a.parquet",
            lambda file: pq.write_table(pa.table({"id": IDS, "emb": [row.tolist() for row in VALUES]}), file),
            {"emb": VALUES},
        ),
        (
            "a.parquet",
            lambda file: pq.write_table(
                pa.table({"emb": pa.FixedSizeListArray.from_arrays(pa.array(VALUES.ravel()), 4), "url": IDS}), file
            ),
            {"emb": VALUES},
        ),
        (
            "a.parquet",
            lambda file: pq.write_table(pa.table({f"d{i}": VALUES[:, i] for i in range(4)}), file),
            {"features": VALUES},
        ),
        (
            "a.parquet",
            lambda file: pq.write_table(pa.table({"feats": pa.array(STACK.tolist())}), file),
            {f"feats.{i:02d}": STACK[:, i] for i in range(3)},
        ),
        ("a.npz", lambda file: np.savez(file, x=np.asfortranarray(VALUES.astype(">f4"))), {"x": VALUES}),
    ],
)
def test_every_form_gives_the_values_as_they_are(
    name: str, save: Callable[[Path], object], layers: dict[str, np.ndarray], tmp_path: Path
) -> None:
    save(tmp_path / name)
    features = imported(tmp_path / name)
    assert set(features.layers) == set(layers)
    for layer, values in layers.items():
        np.testing.assert_array_equal(features.rows(layer), values)
    assert features.verify() == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn])
@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_floats_that_numpy_lacks_are_kept_exactly(dtype: torch.dtype, ending: str, tmp_path: Path) -> None:
    tensor = torch.tensor(VALUES).to(dtype)
    (save_file if ending == "safetensors" else torch.save)({"block.00": tensor}, tmp_path / f"a.{ending}")
    np.testing.assert_array_equal(imported(tmp_path / f"a.{ending}").rows("block.00"), tensor.float().numpy())


@pytest.mark.parametrize(
    ("ids", "names"),
    [
        (np.array(IDS, dtype="S6"), IDS),
        (np.array([name.encode() for name in ["é", "ü", "a", "b", "c", "d"]]), ["é", "ü", "a", "b", "c", "d"]),
        (np.arange(6), list("012345")),
        (np.arange(6.0), list("012345")),
        (np.array(IDS)[:, None], IDS),
    ],
)
def test_ids_are_text_whatever_they_are_kept_as(ids: np.ndarray, names: list[str], tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", ids=ids, x=VALUES)
    assert list(imported(tmp_path / "a.npz").ids) == names


def test_ids_put_the_rows_of_every_form_in_order(tmp_path: Path) -> None:
    np.savez(tmp_path / "first.npz", ids=np.array(IDS), x=VALUES)
    imported(tmp_path / "first.npz", model="first")
    order = [3, 1, 5, 0, 2, 4]
    torch.save({"ids": [IDS[i] for i in order], "x": torch.tensor(VALUES[order])}, tmp_path / "a.pt")
    pq.write_table(
        pa.table({"ids": [IDS[i] for i in order], "x": [VALUES[i].tolist() for i in order]}), tmp_path / "a.parquet"
    )
    save_file({"ids": torch.tensor(order), "x": torch.tensor(VALUES[order])}, tmp_path / "numbers.safetensors")
    assert read_feature_file(tmp_path / "numbers.safetensors").ids == tuple(map(str, order))
    for name in ("a.pt", "a.parquet"):
        np.testing.assert_array_equal(imported(tmp_path / name, model=name).rows("x"), VALUES)
    np.savez(tmp_path / "wide.npz", ids=np.array([f"{name} " for name in IDS]), x=VALUES)
    with pytest.raises(StructureError, match="Without the white space around them they would fit"):
        imported(tmp_path / "wide.npz", model="wide")


def test_the_table_of_samples_may_have_columns_of_other_names(tmp_path: Path) -> None:
    rows = "".join(f"{name};a cell {number}\n" for number, name in enumerate(IDS))
    (tmp_path / "list.csv").write_text(f"cell;finding\n{rows}")
    np.savez(tmp_path / "a.npz", ids=np.array(IDS[::-1]), x=VALUES)
    for samples in (f"{tmp_path}/list.csv?sep=;&id=cell&caption=finding", None):
        np.testing.assert_array_equal(imported(tmp_path / "a.npz", samples=samples).rows("x"), VALUES[::-1])
    assert open_store(tmp_path / "store").samples("cells", "train").texts(1)[2] == "a cell 2"


def test_what_is_no_layer_is_told(tmp_path: Path) -> None:
    torch.save({"feats": torch.tensor(VALUES), "num_params": 7, "loss": torch.ones(6)}, tmp_path / "a.pt")
    told: list[Event] = []
    imported(tmp_path / "a.pt", on_event=told.append)
    assert [event.text for event in told if isinstance(event, Note)] == [
        "a.pt: left out: num_params (int), which is no layer",
        "a.pt: left out: loss (of shape (6,)), which is no layer",
    ]


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("owned"),))


@pytest.mark.parametrize(
    ("name", "save", "message"),
    [
        ("a.pt", lambda file: torch.save({"x": Trap()}, file), r"would need unpickling.*Save the tensors alone"),
        ("a.pt", lambda file: file.write_bytes(b"x"), "does not read"),
        ("a.npy", lambda file: np.save(file, np.array([Trap()])), "Python objects, which are never unpickled"),
        (
            "a.npz",
            lambda file: np.savez(file, ids=np.array(IDS, dtype=object), x=VALUES),
            r"'ids' holds Python objects.*np.array\(ids, dtype=str\)",
        ),
        (
            "a.parquet",
            lambda file: pq.write_table(pa.table({"x": [[1.0], [1.0, 2.0]]}), file),
            r"not all of one length \(1, 2, ...\)",
        ),
        ("a.npy", lambda file: np.save(file, VALUES.astype(int)), "'features' is int64"),
        (
            "a.npz",
            lambda file: np.savez(file, x=np.array([[1.0, 2], [3, -1e39]])),
            r"'x' holds -1e\+39, first in row 1, beyond float32's 3.403e\+38.*Divide the whole array by one number",
        ),
    ],
)
def test_what_cannot_be_read_is_told(
    name: str, save: Callable[[Path], object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / name)
    with pytest.raises(StructureError, match=message):
        imported(tmp_path / name)
    assert not Path("owned").exists()
    assert not (tmp_path / "store/features").exists()


def test_a_value_beyond_float16_leaves_the_name_usable_and_either_advice_works(tmp_path: Path) -> None:
    """The three commands in one store, as they are typed one after the other."""
    values = VALUES.copy()
    values[3, 2] = 70_000
    np.savez(tmp_path / "a.npz", ids=np.array(IDS), layer=values)
    command = ["import", str(tmp_path / "a.npz"), "--model", "v", "--modality", "vision", "--dataset", "own"]
    command += ["--store", str(tmp_path / "store"), "--dtype"]
    with pytest.raises(
        StructureError,
        match=r"70000 in layer layer, cell3, is beyond float16's 65504. Nothing was written. Pass",
    ):
        imported(tmp_path / "a.npz", dtype="fp16")
    assert [run([*command, dtype]) for dtype in ("fp16", "auto", "fp32")] == [1, 0, 0]
    np.testing.assert_array_equal(open_store(tmp_path / "store")["own/train/v"].rows("layer"), values)


def test_another_file_under_a_name_that_failed_is_taken(tmp_path: Path) -> None:
    np.savez(tmp_path / "huge.npz", layer=VALUES.astype(np.float64) * 1e39)
    np.savez(tmp_path / "good.npz", layer=VALUES)
    with pytest.raises(StructureError, match="beyond float32"):
        imported(tmp_path / "huge.npz")
    assert len(imported(tmp_path / "good.npz")) == 6


def test_arrays_are_not_copied_to_be_looked_at(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", VALUES)
    (values,) = read_feature_file(tmp_path / "a.npy").layers.values()
    assert isinstance(values.base, np.memmap) or isinstance(values, np.memmap)


def test_labels_beside_layers_are_left_out_and_told(tmp_path: Path) -> None:
    for file, save in {
        "a.npz": lambda file: np.savez(file, feats=VALUES, labels=np.arange(6), scale=np.float32(3)),
        "a.safetensors": lambda file: save_file({"feats": torch.tensor(VALUES), "labels": torch.arange(6)}, file),
        "a.pt": lambda file: torch.save({"feats": torch.tensor(VALUES), "input_ids": torch.ones(6, 7).long()}, file),
    }.items():
        save(tmp_path / file)
        read = read_feature_file(tmp_path / file)
        assert list(read.layers) == ["feats"]
        assert "which is no layer" in read.notes[0]
    wide = {"id": IDS, **{str(i): VALUES[:, i] for i in range(4)}, "label": np.ones(6), "score": np.zeros(6)}
    pq.write_table(pa.table(wide), tmp_path / "wide.parquet")
    read = read_feature_file(tmp_path / "wide.parquet")
    np.testing.assert_array_equal(read.layers["features"], VALUES)
    assert read.notes == (
        "left out: the column label, one number a row",
        "left out: the column score, one number a row",
    )
    pq.write_table(pa.table({"id": IDS, "score": np.zeros(6)}), tmp_path / "one.parquet")
    with pytest.raises(StructureError, match="score is one number a row"):
        read_feature_file(tmp_path / "one.parquet")


def test_a_vector_for_each_id_and_dicts_in_dicts(tmp_path: Path) -> None:
    rows = dict(zip(IDS, torch.tensor(VALUES).bfloat16(), strict=True))
    torch.save(rows, tmp_path / "a.pt")
    read = read_feature_file(tmp_path / "a.pt")
    assert read.ids == tuple(IDS)
    np.testing.assert_array_equal(read.layers["features"], torch.stack(list(rows.values())).float().numpy())
    torch.save(list(torch.tensor(VALUES)), tmp_path / "b.pt")
    np.testing.assert_array_equal(read_feature_file(tmp_path / "b.pt").layers["features"], VALUES)
    torch.save({"vit": {"block": {"00": torch.tensor(VALUES)}}, "ids": IDS, "note": "x"}, tmp_path / "c.pt")
    read = read_feature_file(tmp_path / "c.pt")
    assert (list(read.layers), read.ids, len(read.notes)) == (["vit.block.00"], tuple(IDS), 1)


def test_what_a_file_without_layers_holds_is_told(tmp_path: Path) -> None:
    torch.save({"loss": torch.ones(6), "epoch": 3}, tmp_path / "a.pt")
    with pytest.raises(StructureError, match=r"no array that is a layer.*loss \(of shape \(6,\)\).*epoch \(int\)"):
        read_feature_file(tmp_path / "a.pt")


def test_rows_are_of_the_split_that_they_are_imported_as(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.csv"
    lines = [f"{name},{name}.png,a {name},{'train' if row < 3 else 'Test'}" for row, name in enumerate(IDS)]
    pairs.write_text("id,image,caption,split\n" + "\n".join(lines) + "\n")
    np.save(tmp_path / "half.npy", VALUES[3:])
    for split, ids in (("train", IDS[:3]), ("test", IDS[3:])):
        imported(tmp_path / "half.npy", samples=str(pairs), split=split)
        assert open_store(tmp_path / "store").samples("cells", split).item_ids == ids
    with pytest.raises(StructureError, match="the splits train, test, and none of them is dev.*--split train"):
        imported(tmp_path / "half.npy", samples=str(pairs), split="dev")
    np.save(tmp_path / "all.npy", VALUES)
    imported(tmp_path / "all.npy", samples=str(pairs), split="all")
    assert open_store(tmp_path / "store").samples("cells", "all").item_ids == IDS


def test_another_file_under_a_name_that_is_taken_is_told_what_to_type(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", VALUES)
    np.save(tmp_path / "b.npy", -VALUES)
    np.savez(tmp_path / "c.npz", feats=VALUES, ids=np.array(IDS))
    imported(tmp_path / "a.npy")
    with pytest.raises(
        StructureError, match=r"cells/train/vit are there, from a.npy, and b.npy holds others. Pass another --model"
    ):
        imported(tmp_path / "b.npy")
    assert imported(tmp_path / "b.npy", model="other").key == "cells/train/other"
    with pytest.raises(StructureError, match=r"has row numbers for ids.*pass another --dataset"):
        imported(tmp_path / "c.npz")
    assert imported(tmp_path / "c.npz", dataset="named").key == "named/train/vit"


@pytest.mark.parametrize("ending", ["npz", "npy", "safetensors"])
def test_arrays_that_are_not_compressed_are_read_where_they_lie(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"a.{ending}"
    half = np.random.default_rng(0).standard_normal((40, 7)).astype(np.float16)
    layers = {"x": half, "y": half.astype(np.float32)[:, :5], "z": half.astype(np.float64)}
    if ending == "npz":
        np.savez(file, x=half, y=np.asfortranarray(layers["y"]), z=layers["z"], ids=np.arange(40))
    elif ending == "npy":
        layers = {"features": half}
        np.save(file, half)
    else:
        save_file({name: torch.tensor(values) for name, values in layers.items()}, file)
    read = read_feature_file(file)
    assert set(read.layers) == set(layers)
    for name, values in read.layers.items():
        np.testing.assert_array_equal(values, layers[name], strict=True)
        base = values
        while isinstance(base, np.ndarray):
            base = base.base  # type: ignore[assignment]
        assert isinstance(base, mmap.mmap)
    assert read.ids == (tuple(map(str, range(40))) if ending == "npz" else None)


def test_a_stored_array_with_another_checksum_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    np.savez(file, x=VALUES)
    data = bytearray(file.read_bytes())
    data[data.index(VALUES.tobytes()) + 5] ^= 1
    file.write_bytes(data)
    with pytest.raises(StructureError, match=r"a\.npz does not read as \.npz: Bad CRC-32"):
        read_feature_file(file)
