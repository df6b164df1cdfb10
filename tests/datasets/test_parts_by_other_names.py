"""Splits that are told otherwise than by a folder `train` or a column `split`: never drawn anew, never lost in
silence, and every remedy works."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from structure.pipeline.datasets import Dataset, open_dataset
from structure.pipeline.datasets.split_names import called, hinted
from structure.store.errors import StructureError

Draw = Callable[..., bytes]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def opened(spec: str, **options: Any) -> Dataset:
    return open_dataset(spec, data_root=".", **options)


def refused(spec: str, match: str, **options: Any) -> list[str]:
    """What the refusal says to type."""
    with pytest.raises(StructureError, match=match) as told:
        opened(spec, **options)
    kind = spec.partition(":")[0]
    return [first or second for first, second in re.findall(rf"'({kind}:[^']*)'|Type ({kind}:\S+)", str(told.value))]


def put(names: str, draw: Draw) -> None:
    for number, name in enumerate(names.split()):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(draw(number))


@pytest.mark.parametrize(
    ("name", "part"),
    [
        *[
            (name, "train")
            for name in ("seg_train", "train2017", "TrainImages", "trainset-00", "training set", "train.1")
        ],
        *[("test_images", "test"), ("valset", "val"), ("Validation", "val"), ("my-testing-data", "test")],
        *[(name, None) for name in ("contest", "trainer", "latest", "devices", "train-test", "dataset", "value", "")],
    ],
)
def test_words_in_longer_names(name: str, part: str | None) -> None:
    assert hinted(name) == part


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        ("d/train_images/ant/0.png d/train_images/bee/1.png d/test_images/ant/2.png", "test_images,train_images"),
        (
            "d/seg_train/seg_train/ant/0.png d/seg_train/seg_train/bee/1.png d/seg_test/seg_test/ant/2.png d/x/3.png",
            "seg_test/seg_test,seg_train/seg_train",
        ),
        ("d/train2017/ant/0.png d/train2017/bee/1.png d/val2017/bee/2.png", "train2017,val2017"),
    ],
)
def test_folders_whose_names_speak_of_splits_are_told(names: str, splits: str, here: Path, draw: Draw) -> None:
    put(names, draw)
    first, second = refused("folder:d", "whose names speak of splits")
    assert first == f"folder:d?splits={splits}"
    held_out = opened(first, split="val" if "val" in splits else "test")
    assert (len(opened(first)), opened(first).split, len(held_out)) == (2, "train", 1)
    assert opened(first).tasks["label"].classes == ("ant", "bee")
    assert len(opened(second)) == len(names.split())


def test_classes_that_hold_such_words_stay_classes(here: Path, draw: Draw) -> None:
    put("d/test_tube/0.png d/train_station/1.png d/cat/2.png", draw)
    assert opened("folder:d").tasks["label"].classes == ("cat", "test_tube", "train_station")


@pytest.mark.parametrize(
    ("names", "remedy"),
    [
        ("d/data/imgs/train/a/0.png d/data/imgs/test/a/1.png", "folder:d/data/imgs"),
        ("d/ant/imgs/train/0.png d/ant/imgs/test/1.png d/bee/imgs/train/2.png", ""),
        ("d/data/ant/train/0.png d/data/bee/train/1.png d/data/bee/test/2.png", ""),
    ],
)
def test_splits_at_any_depth_are_told(names: str, remedy: str, here: Path, draw: Draw) -> None:
    put(names, draw)
    *typed, none = refused("folder:d", "could be held out wrongly")
    assert typed == ([remedy] if remedy else [])
    assert [opened(each).split for each in typed] == ["train"] * len(typed)
    assert len(opened(none)) == len(names.split())


def test_captions_beside_images_in_folders_that_speak_of_splits(here: Path, draw: Draw) -> None:
    put("d/train_images/0.png d/train_images/1.png d/test_images/2.png", draw)
    for image in here.rglob("*.png"):
        image.with_suffix(".txt").write_text(image.stem)
    first, _ = refused("sidecar:d", "whose names speak of splits")
    assert (len(opened(first)), len(opened(first, split="test"))) == (2, 1)


ROWS = [
    {"image": f"{row}.png", "caption": f"thing {row}", "subset": "test" if row < 2 else "train"} for row in range(5)
]


def table(kind: str, draw: Draw) -> str:
    put(" ".join(f"d/{row}.png" for row in range(5)), draw)
    file = Path(f"d/my.{kind}")
    if kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(ROWS), file)
    elif kind == "csv":
        file.write_text("image,caption,subset\n" + "".join(",".join(row.values()) + "\n" for row in ROWS))
    else:
        file.write_text("\n".join(map(json.dumps, ROWS)))
    return f"pairs:{file}"


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_column_of_split_words_under_another_name_is_told(kind: str, here: Path, draw: Draw) -> None:
    spec = table(kind, draw)
    by_column, drawn = refused(spec, "the column subset holds test, train, which are names of splits", split="test")
    assert (len(opened(by_column)), len(opened(by_column, split="test"))) == (3, 2)
    assert opened(drawn).split == "all"


def test_a_column_that_holds_other_words_too_is_no_split(here: Path, draw: Draw) -> None:
    spec = table("csv", draw)
    file = Path("d/my.csv")
    for words in (("test", "train", "bus"), ("train", "train", "train")):
        lines = [f"{row}.png,thing {row},{words[row % 3]}" for row in range(5)]
        file.write_text("image,caption,what\n" + "\n".join(lines) + "\n")
        assert opened(spec).split == "all"


def test_parts_that_differ_by_case_are_one(here: Path, draw: Draw) -> None:
    spec = table("csv", draw)
    words = ["Train", "train", "TRAIN ", "test", "Test"]
    Path("d/my.csv").write_text("image,caption,split\n" + "".join(f"{n}.png,a {n},{w}\n" for n, w in enumerate(words)))
    assert (opened(spec).splits, len(opened(spec)), len(opened(spec, split="test"))) == (("train", "test"), 3, 2)
    assert called(["Fold 1", "fold 1", "dev", "validation"], where="x") == ["Fold 1", "Fold 1", "dev", "validation"]
    with pytest.raises(StructureError, match="x has 'train' and 'Training', and both mean the split train"):
        called(["train", "Training"], where="x")


def test_folders_inside_a_tar_are_splits(here: Path, write_tar: Any, draw: Draw) -> None:
    def members(*keys: str) -> dict[str, bytes]:
        return {f"{key}.{end}": data for key in keys for end, data in (("png", draw(1)), ("txt", key.encode()))}

    Path("d").mkdir()
    write_tar(Path("d/all.tar"), members("set/train/0", "set/train/1", "set/test/0"))
    assert (opened("wds:d").split, len(opened("wds:d")), len(opened("wds:d", split="test"))) == ("train", 2, 1)
    assert opened("wds:d", split="test").item(0).captions == ("set/test/0",)
    assert len(opened("wds:d?splits=none")) == 3
    write_tar(Path("d/all.tar"), members("train/0", "test/0", "more/0"))
    (drawn,) = refused("wds:d", "train/0 lies in a folder of the split train and more/0 in none")[-1:]
    assert len(opened(drawn)) == 3


def test_what_is_passed_over_in_a_tar_is_told(here: Path, write_tar: Any, draw: Draw) -> None:
    Path("d").mkdir()
    write_tar(Path("d/0.tar"), {"a.jpg": draw(1), "a.png": draw(2), "a.txt": b"a", "a.cls": b"3"})
    assert opened("wds:d").notes == (
        "1 samples have several images: .png is read, .jpg is not",
        "1 samples have a label (.cls, .npy) beside their captions, which is not read",
    )


@pytest.fixture
def save(here: Path, draw: Draw) -> Callable[..., str]:
    library = pytest.importorskip("datasets")

    def saved(kinds: dict[str, Any] | None = None, **columns: list[Any]) -> str:
        library.disable_progress_bars()
        count = len(next(iter(columns.values())))
        rows = {"image": [{"bytes": draw(1), "path": None}] * count, "caption": ["x"] * count, **columns}
        whole = library.Dataset.from_dict(rows).cast_column("image", library.Image())
        for name, kind in (kinds or {}).items():
            whole = whole.cast_column(name, kind)
        parts = columns.get("part")
        if parts is not None:
            whole = library.DatasetDict(
                {
                    part: whole.select([row for row, name in enumerate(parts) if name == part]).remove_columns("part")
                    for part in dict.fromkeys(parts)
                }
            )
        whole.save_to_disk("saved")
        return "hf:saved"

    return saved


def test_splits_of_a_saved_dataset_without_one_for_training(save: Callable[..., str]) -> None:
    spec = save(part=["validation", "test", "test"])
    with pytest.raises(
        StructureError, match=r"the splits validation, test, of which none is for training.*--split validation"
    ):
        opened(spec)
    assert [len(opened(spec, split=name)) for name in ("validation", "val", "test")] == [1, 1, 2]


def test_a_split_column_of_a_saved_dataset_by_another_name(save: Callable[..., str]) -> None:
    spec = save(subset=["train", "test", "train"])
    by_column, drawn = refused(spec, "the column subset holds test, train")
    assert ([len(opened(by_column, split=name)) for name in ("train", "test")], len(opened(drawn))) == ([2, 1], 3)


def test_a_split_column_of_a_saved_dataset_in_another_case(save: Callable[..., str]) -> None:
    assert len(opened(save(Split=["Train", "test", "train"]))) == 2


def test_a_split_column_of_numbers_is_asked_for(save: Callable[..., str]) -> None:
    by_column, drawn = refused(save(split=[0, 1, 0]), "the cells of split are no text")
    assert (opened(by_column).splits, len(opened(by_column, split="0")), len(opened(drawn))) == (("0", "1"), 2, 3)


def test_a_sample_without_an_id_is_told(save: Callable[..., str]) -> None:
    with pytest.raises(StructureError, match="row 1 of all has no id"):
        opened(save(id=[1, None, 3]))


def test_captions_that_are_lists_written_as_text(save: Callable[..., str]) -> None:
    dataset = opened(save(caption=['["a", "b"]', "['c']", '["d"]']))
    assert [dataset.item(row).captions for row in range(3)] == [("a", "b"), ("c",), ("d",)]
    assert "lists written as text" in dataset.notes[0]
