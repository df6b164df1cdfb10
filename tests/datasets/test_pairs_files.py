"""`pairs:` from JSON Lines, CSV and Parquet: what is read, and what each kind of bad row is answered with."""

from __future__ import annotations

import contextlib
import csv
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structure.pipeline.datasets.pairs import PairsFile
from structure.pipeline.datasets.splits import choose, share
from structure.store.errors import BadSampleError, NotPresentError, StructureError

Write = Callable[..., Path]


def test_rows_become_items_in_order(pairs_file: Write) -> None:
    file = pairs_file(
        [
            {"image": "b.png", "caption": " a bee \n", "author": {"free": 1}},
            {"image": "sub/a.png", "captions": ["一只蚂蚁", "an ant"], "id": "ant"},
            {"image": "c.png", "captions": "a cat", "id": 7},
        ]
    )
    dataset = PairsFile(file)
    assert [dataset.item(i).id for i in range(3)] == ["b.png", "ant", "7"]
    assert [dataset.item(i).captions for i in range(3)] == [("a bee",), ("一只蚂蚁", "an ant"), ("a cat",)]
    assert (dataset.name, dataset.split, dataset.kind, dict(dataset.tasks)) == ("mine", "all", "retrieval", {})
    assert dataset.image(1).size == (6, 4)
    assert dataset.digest(0) != dataset.digest(1)


def test_the_name_is_the_file_unless_it_is_called_pairs(pairs_file: Write) -> None:
    assert PairsFile(pairs_file([{"image": "a.png", "caption": "a"}], name="x ray.jsonl")).name == "x-ray"


def test_the_stamp_changes_with_the_file(pairs_file: Write) -> None:
    file = pairs_file([{"image": "a.png", "caption": "a"}])
    dataset = PairsFile(file)
    before = dataset.stamp(0), dataset.digest(0)
    (file.parent / "a.png").write_bytes(b"other")
    assert dataset.stamp(0) != before[0]
    assert dataset.digest(0) != before[1]


def test_csv_and_parquet_read_as_json_lines_does(pairs_file: Write) -> None:
    rows = [
        {
            "id": "one",
            "image": "a.png",
            "captions": ['say "hi", twice\nplease', "two"],
            "label": "dog",
            "split": "train",
        },
        {"id": "two", "image": "b.png", "captions": ["three"], "label": "ant", "split": "train"},
    ]
    file = pairs_file(rows)
    for ending, delimiter in (("csv", ","), ("tsv", "\t")):
        with (file.parent / f"table.{ending}").open("w", newline="", encoding="utf-8-sig") as text:
            table = csv.DictWriter(text, ["label", "id", "image", "captions", "split"], delimiter=delimiter)
            table.writeheader()
            table.writerows({**row, "captions": json.dumps(row["captions"])} for row in rows)
    pq.write_table(pa.Table.from_pylist(rows), file.parent / "table.parquet")
    expected = PairsFile(file)
    for other in ("table.csv", "table.tsv", "table.parquet"):
        dataset = PairsFile(file.parent / other)
        assert [dataset.item(i) for i in range(2)] == [expected.item(i) for i in range(2)]
        assert dataset.tasks["label"].classes == expected.tasks["label"].classes == ("ant", "dog")


def test_labels_are_numbered_over_the_whole_file(pairs_file: Write) -> None:
    file = pairs_file(
        [
            {"image": "a.png", "label": "dog", "split": "train"},
            {"image": "b.png", "label": "ant", "split": "test"},
            {"image": "c.png", "split": "test"},
        ]
    )
    dataset = PairsFile(file, split="test")
    assert dataset.tasks["label"].classes == ("ant", "dog")
    assert [dict(dataset.item(i).labels) for i in range(2)] == [{"label": 0}, {}]
    assert dataset.kind == "classification"
    assert PairsFile(file).split == "train"


def test_numbers_are_sorted_as_numbers_in_csv_too(pairs_file: Write) -> None:
    file = pairs_file(["image,label", "a,10", "b,9", "c,2"], name="n.csv", images=False)
    (file.parent / "a").write_bytes(b"x")
    dataset = PairsFile(file)
    assert dataset.tasks["label"].classes == ("2", "9", "10")
    assert [dataset.item(i).labels["label"] for i in range(3)] == [2, 1, 0]


def test_the_split_column_is_used(pairs_file: Write) -> None:
    file = pairs_file([{"image": f"{i}.png", "caption": "x", "split": "dev" if i % 3 else "train"} for i in range(6)])
    assert [PairsFile(file, split=split).ids for split in (None, "dev")] == [
        ("0.png", "3.png"),
        ("1.png", "2.png", "4.png", "5.png"),
    ]
    assert len(PairsFile(file, split="all")) == 6
    with pytest.raises(
        StructureError, match=r"Unknown split 'trian'.*Did you mean train.*train \(2 rows\), dev \(4 rows\)"
    ):
        PairsFile(file, split="trian")


def test_the_parts_of_a_split_column_are_known_in_any_case(pairs_file: Write) -> None:
    """`Train` beside `Test` is no reason to train on both."""
    rows = [{"image": f"{i}.png", "caption": "x", "split": "Testing" if i % 3 else "Train"} for i in range(6)]
    file = pairs_file(rows)
    assert [(PairsFile(file, split=name).split, len(PairsFile(file, split=name))) for name in (None, "test")] == [
        ("train", 2),
        ("test", 4),
    ]


def test_labels_that_a_table_with_gaps_made_to_floats_are_numbers(pairs_file: Write, tmp_path: Path) -> None:
    file = pairs_file([{"image": f"{i}.png", "caption": "x", "label": label} for i, label in enumerate((2.0, 10.0))])
    assert PairsFile(file).tasks["label"].classes == ("2", "10")
    table = file.with_suffix(".csv")
    table.write_text("image,caption,label\n0.png,x,10.0\n1.png,y,\n0.png,z,2.0\n".replace("\n0.png,z", "\nc.png,z"))
    assert PairsFile(table).tasks["label"].classes == ("2", "10")
    assert [dict(PairsFile(table).item(i).labels) for i in range(3)] == [{"label": 1}, {}, {"label": 0}]


def test_seeded_splits_cover_everything_and_ignore_appended_rows(pairs_file: Write) -> None:
    ids = [f"sample {i}" for i in range(400)]
    parts = {name: choose(ids, split=name, seed=0, source="x")[1] for name in ("train", "val", "test")}
    assert sorted(index for part in parts.values() for index in part) == list(range(400))
    assert 280 < len(parts["train"]) < 360
    assert 20 < len(parts["val"]) < 60
    assert all(
        choose([*ids, "new"], split=name, seed=0, source="x")[1][: len(part)] == part for name, part in parts.items()
    )
    assert choose(ids, split="val", seed=3, source="x")[0] == "val-seed3"
    assert choose(ids, split="val", seed=3, source="x")[1] != parts["val"]
    other = next(name for name in parts if name != share("a", seed=0))
    with pytest.raises(StructureError, match="has 0 of 1 samples"):
        choose(["a"], split=other, seed=0, source="x")
    with pytest.raises(StructureError, match="Unknown split 'tst'"):
        choose(ids, split="tst", seed=0, source="x")


def test_an_absolute_path_and_one_upwards_are_the_users_own_choice(
    pairs_file: Write, tmp_path: Path, draw: Callable[..., bytes]
) -> None:
    (tmp_path / "elsewhere.png").write_bytes(draw(1))
    rows = [{"image": str(tmp_path / "elsewhere.png"), "caption": "a"}, {"image": "../elsewhere.png", "caption": "b"}]
    dataset = PairsFile(pairs_file(rows, images=False))
    assert dataset.digest(0) == dataset.digest(1)


GOOD = {"image": "a.png", "caption": "fine"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([GOOD, '{"image": "b.png", "capt'], r"pairs.jsonl, line 2 is not JSON"),
        ([GOOD, "[1, 2]"], r"line 2 is not a JSON object"),
        ([GOOD, "[" * 100_000], r"line 2 is not JSON"),
        ([{"img": "a.png", "caption": "x"}], r"no column image; its columns are img, caption.*Did you mean img"),
        ([{"file": "a.png", "caption": "x"}], r"no column image.*Did you mean file\? Type 'pairs:.*\?image=file'"),
        (
            ["[" + json.dumps(GOOD) + "]"],
            r"line 1 is not a JSON object .*If the file is one JSON list, rename it to .json",
        ),
        ([{"image": "a.png", "text": "x"}], r"neither caption, captions nor label"),
        (
            [{**GOOD, "id": "x"}, {"image": "b.png", "caption": "b", "id": "x"}],
            r"same id 'x'.*Give each row its own id",
        ),
        ([{**GOOD, "caption": 3}], r"line 1: a caption is 3; it must be text"),
        ([{"image": {"bytes": "x"}, "caption": "a"}], r"line 1: image is an object; it must be text"),
        ([{**GOOD, "captions": ["b"]}], r"line 1 has both caption and captions"),
        ([{**GOOD, "id": 1.5}], r"line 1: id is 1.5"),
        ([{**GOOD, "label": [[1]]}], r"line 1: label is \[1\]"),
        (
            [{**GOOD, "label": 1}, {"image": "b.png", "caption": "x", "label": "dog"}],
            r"names \('dog', ...\).*numbers \(1, ",
        ),
        (
            [{**GOOD, "split": "train"}, {"image": "b.png", "caption": "x"}],
            r"line 2 has no split, and 1 of 2 rows have",
        ),
        ([{**GOOD, "caption": "half \ud800"}], r"line 1: the caption .* is not Unicode text"),
        ([], r"0 rows"),
        (["", "  "], r"0 rows"),
    ],
)
def test_a_bad_table_is_refused_with_its_line(pairs_file: Write, rows: list[object], message: str) -> None:
    with pytest.raises(StructureError, match=message):
        PairsFile(pairs_file(rows))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["image,caption", "a.png,red, blue"],
            r"line 2 has 3 cells and the header 2; .* a comma inside a caption needs quotes",
        ),
        (["image;caption", "a.png;red"], r"line 1 is one column.*separated by ';', and a .csv file's by a comma"),
        (["image,caption,image", "a.png,x,y"], r"line 1: a column name appears twice"),
        (["image,caption", '"a.png,never closed'], r"is not CSV"),
        (["image,captions", 'a.png,"[""one"""'], r"line 2: captions begins with \[ and is no list of texts"),
        (
            ["image,caption", '"a\nb.png","two\nlines"', "c.png"],
            r"line 5 has 1 cells and the header 2; every row needs as many",
        ),
    ],
)
def test_a_bad_csv_is_refused_with_its_line(pairs_file: Write, lines: list[str], message: str) -> None:
    with pytest.raises(StructureError, match=message):
        PairsFile(pairs_file(lines, name="bad.csv"))


def test_a_file_that_is_not_there_or_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(NotPresentError, match=r"nothing.jsonl does not exist; it was looked for at /"):
        PairsFile(tmp_path / "nothing.jsonl")
    with pytest.raises(StructureError, match=r"ends in '.xlsx'.*Convert it"):
        PairsFile(tmp_path / "pairs.xlsx")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(StructureError, match="not a Parquet file"):
        PairsFile(tmp_path / "bad.parquet")
    (tmp_path / "latin.jsonl").write_bytes('{"image": "a.png", "caption": "é"}\n'.encode("latin-1"))
    with pytest.raises(StructureError, match="not UTF-8"):
        PairsFile(tmp_path / "latin.jsonl")


def test_a_bad_row_is_a_bad_sample_and_the_others_are_read(pairs_file: Write) -> None:
    dataset = PairsFile(
        pairs_file(
            [
                GOOD,
                {"image": "b.png"},
                {"image": "c.png", "caption": " "},
                {"image": "d.png", "captions": ["x", ""]},
                {"caption": "lonely", "id": "e"},
                {"image": "gone.jpg", "caption": "x"},
                {"image": "f.png", "captions": []},
                {"image": "nul\0.jpg", "caption": "x"},
            ]
        )
    )
    assert dataset.item(0).captions == ("fine",)
    for index, reason in {
        1: "line 2: an image without caption",
        2: "line 3: its caption is empty",
        3: "line 4: caption 2 of 2 is empty",
        4: "line 5: a caption without image",
        6: "line 7: an image without caption",
    }.items():
        with pytest.raises(BadSampleError, match=reason) as caught:
            dataset.item(index)
        assert caught.value.item == dataset.ids[index]
    assert dataset.item(5).captions == ("x",)
    with pytest.raises(BadSampleError, match="there is no file .*gone.jpg"):
        dataset.image(5)
    with pytest.raises(BadSampleError, match="caption without image"):
        dataset.payload(4)
    with pytest.raises(BadSampleError, match="cannot be read"):
        dataset.image(7)
    assert dataset.stamp(5) == "missing"


def test_a_wrong_folder_is_said_at_once(pairs_file: Write) -> None:
    file = pairs_file([{"image": f"{i}.png", "caption": "x"} for i in range(20)], images=False)
    with pytest.raises(
        NotPresentError, match=r"none of the first 8 images exists, for example .*0.png. Paths are relative"
    ):
        PairsFile(file)


texts = st.text(st.characters(codec="utf-8"), max_size=30)
captions = st.lists(texts.filter(lambda text: text.strip()), min_size=1, max_size=4)
tables = st.lists(
    st.tuples(texts.filter(lambda text: text.strip()), captions), min_size=1, max_size=6, unique_by=lambda row: row[0]
)


@settings(max_examples=80, deadline=None)
@given(tables, st.sampled_from(["jsonl", "csv", "tsv", "parquet"]))
def test_any_text_survives_any_of_the_files(rows: list[tuple[str, list[str]]], kind: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"any.{kind}")
        Path(folder, "a.png").write_bytes(b"x")
        records = [{"id": item, "image": "a.png", "captions": texts} for item, texts in rows]
        if kind == "jsonl":
            file.write_text(
                "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8"
            )
        elif kind in ("csv", "tsv"):
            with file.open("w", newline="", encoding="utf-8") as text:
                table = csv.DictWriter(text, ["id", "image", "captions"], delimiter="," if kind == "csv" else "\t")
                table.writeheader()
                table.writerows({**record, "captions": json.dumps(record["captions"])} for record in records)
        else:
            pq.write_table(pa.Table.from_pylist(records), file)
        dataset = PairsFile(file)
        assert list(dataset.ids) == [item for item, _ in rows]
        for index, (_, given_captions) in enumerate(rows):
            assert dataset.item(index).captions == tuple(caption.strip() for caption in given_captions)


@settings(max_examples=120, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["jsonl", "csv", "parquet"]))
def test_any_bytes_give_a_dataset_or_an_error_to_act_on(data: bytes, kind: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"any.{kind}")
        head = b"image,caption\n" if kind == "csv" else b""
        file.write_bytes(head + data)
        with contextlib.suppress(StructureError):
            PairsFile(file)
