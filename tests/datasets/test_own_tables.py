"""Tables that people have: other column names, separators and encodings, repeated rows, rows that are broken."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from structure.pipeline.datasets import Dataset, open_dataset
from structure.pipeline.datasets.splits import share
from structure.pipeline.stages.check_data import check_data
from structure.store.errors import BadSampleError, NotPresentError, StructureError

Draw = Callable[..., bytes]


@pytest.fixture
def folder(tmp_path: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the images 0.jpg to 3.jpg and photos/4.jpg."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for name in ("0", "1", "2", "3", "photos/4"):
        (tmp_path / f"{name}.jpg").write_bytes(draw(int(name[-1]), form="JPEG"))
    return tmp_path


def opened(spec: str, **options: Any) -> Dataset:
    return open_dataset(spec, data_root=".", **options)


def told(dataset: Dataset) -> list[tuple[str, ...] | str]:
    """The captions of each sample, or why there are none."""
    found: list[tuple[str, ...] | str] = []
    for index in range(len(dataset)):
        try:
            found.append(dataset.item(index).captions)
        except BadSampleError as error:
            found.append(error.reason)
    return found


def test_columns_are_named_in_the_datasets_name(folder: Path) -> None:
    Path("my.csv").write_text("file_name;text;class;fold\n0.jpg;a, b;dog;Test\n1.jpg;c;ant;train\n2.jpg;d;ant;train\n")
    spec = "pairs:my.csv?image=file_name&caption=text&label=class&split=fold&sep=;"
    dataset = opened(spec, split="all")
    assert told(dataset) == [("a, b",), ("c",), ("d",)]
    assert (dataset.ids, dataset.tasks["label"].classes) == (("0.jpg", "1.jpg", "2.jpg"), ("ant", "dog"))  # type: ignore[attr-defined]
    assert (told(opened(spec)), told(opened(spec, split="test"))) == ([("c",), ("d",)], [("a, b",)])
    with pytest.raises(StructureError, match="Unknown column 'txt'. Did you mean text"):
        opened("pairs:my.csv?image=file_name&caption=txt&sep=;")
    with pytest.raises(StructureError, match="Unknown option of pairs:FILE.* 'captoin'. Did you mean caption"):
        opened("pairs:my.csv?captoin=text")


@pytest.mark.parametrize(
    ("header", "image", "caption"), [("image, caption", 0, 1), ("Caption,Image ", 1, 0), ("image,caption_0,x", 0, 1)]
)
def test_usual_names_count_in_any_case(header: str, image: int, caption: int, folder: Path) -> None:
    cells = ["", "", "x"][: len(header.split(","))]
    cells[image], cells[caption] = "0.jpg", " a thing"
    Path("my.csv").write_text(f"{header}\n{','.join(cells)}\n")
    assert told(opened("pairs:my.csv")) == [("a thing",)]


def test_several_columns_are_several_captions(folder: Path) -> None:
    Path("my.csv").write_text("image,en,caption_10,caption_9\n0.jpg,a,ten,nine\n1.jpg,b,,only\n")
    assert told(opened("pairs:my.csv")) == [("nine", "ten"), ("only",)]
    assert told(opened("pairs:my.csv?caption=en&caption=caption_9")) == [("a", "nine"), ("b", "only")]


@pytest.mark.parametrize(
    ("name", "text", "captions"),
    [
        ("roco.csv", "ID,Caption\n0,a scan\n1,another\n", [("a scan",), ("another",)]),
        (
            "folder.jsonl",
            '{"file_name": "0.jpg", "text": "a"}\n{"file_name": "1.jpg", "text": "b"}\n',
            [("a",), ("b",)],
        ),
        ("semi.csv", "image;caption\n0.jpg;a, b\n", [("a, b",)]),
        ("bar.csv", "image|caption\n0.jpg|a, b\n", [("a, b",)]),
        ("tabs.csv", "image\tcaption\n0.jpg\ta, b\n", [("a, b",)]),
        ("below.csv", "image,caption\n4.jpg,deep\n", [("deep",)]),
        ("odd.csv", "picture & file,what is seen\n0.jpg,a dog runs\n", [("a dog runs",)]),
        ("utf16.tsv", "image\tcaption\n0.jpg\tcafé\n".encode("utf-16"), [("café",)]),
        ("windows.csv", "image,caption\n0.jpg,café\n1.jpg,it\u2019s\n".encode("cp1252"), [("café",), ("it\u2019s",)]),
    ],
)
def test_what_a_message_says_to_type_works(name: str, text: str | bytes, captions: list[Any], folder: Path) -> None:
    Path(name).write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(StructureError) as refused:
        opened(f"pairs:{name}")
    (advice,) = re.findall(r"'(pairs:[^']*)'", str(refused.value))
    assert told(opened(advice)) == captions


def test_rows_of_one_image_are_one_sample_with_all_their_captions(folder: Path) -> None:
    rows = [("0.jpg", "one"), ("1.jpg", "a"), ("0.jpg", "two"), ("0.jpg", "one")]
    Path("my.jsonl").write_text("\n".join(json.dumps({"image": image, "caption": text}) for image, text in rows))
    dataset = opened("pairs:my.jsonl")
    assert told(dataset) == [("one", "two"), ("a",)]
    assert dataset.notes == (
        "3 rows share 1 image: their captions are put together; 1 captions that repeat word for word are left out",
    )


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            "0.jpg,a,train,\n0.jpg,b,test,\n",
            "line 2 and line 3 have the same image 0.jpg in the splits 'train' and 'test'",
        ),
        ("0.jpg,a,,ant\n0.jpg,b,,bee\n", "line 2 and line 3 have the same image 0.jpg with the labels 'ant' and 'bee'"),
    ],
)
def test_rows_of_one_image_that_disagree_are_refused(rows: str, message: str, folder: Path) -> None:
    Path("my.csv").write_text(f"image,caption,split,label\n{rows}")
    with pytest.raises(StructureError, match=message):
        opened("pairs:my.csv")


def test_rows_of_one_image_with_ids_of_their_own_are_in_one_split_and_told(folder: Path) -> None:
    """Annotations have ids of their own: drawn by these, one image would be trained on and tested on."""
    lines = "".join(f"{row},{'./' if row > 19 else ''}{row % 4}.jpg,a {row}\n" for row in range(40))
    Path("my.csv").write_text(f"id,image,caption\n{lines}")
    assert (len(opened("pairs:my.csv")), len(opened("pairs:my.csv?id=image"))) == (40, 4)
    assert [len(captions) for captions in told(opened("pairs:my.csv?id=image"))] == [10] * 4
    (note,) = opened("pairs:my.csv").notes
    assert note.startswith("36 rows show the image of an earlier row under an id of their own")
    assert "?id=image puts them together" in note
    parts = []
    for name in {share(f"{image}.jpg", seed=0) for image in range(4)}:
        part = opened("pairs:my.csv", split=name)
        parts.append({os.path.basename(path) for path in part.paths})  # type: ignore[attr-defined]
    assert sum(map(len, parts)) == 4


def test_one_image_in_two_splits_is_told_however_it_is_written(folder: Path) -> None:
    for rows in ("1,0.jpg,a,train\n2,0.jpg,b,test\n", "1,0.jpg,a,train\n2,photos/../0.jpg,b,test\n"):
        for name in ("id", "no"):
            Path("my.csv").write_text(f"{name},image,caption,split\n{rows}")
            with pytest.raises(StructureError, match="line 2 and line 3 have the same image 0.jpg in the splits"):
                opened("pairs:my.csv")


def test_rows_of_one_image_and_two_classes_stay_apart_under_ids_of_their_own(folder: Path) -> None:
    Path("my.csv").write_text("id,image,label\n1,0.jpg,ant\n2,0.jpg,bee\n")
    assert opened("pairs:my.csv").ids == ("1", "2")  # type: ignore[attr-defined]


@pytest.mark.parametrize("cell", ['["a b", "c"]', "['a b', \"c\"]", '{"raw": ["a b", "c"]}'])
@pytest.mark.parametrize("column", ["caption", "captions"])
def test_captions_that_are_lists_written_as_text(cell: str, column: str, folder: Path) -> None:
    if column == "captions" and cell.startswith("{"):
        return
    with open("my.csv", "w", newline="") as file:
        csv.writer(file).writerows([["image", column], ["0.jpg", cell], ["1.jpg", '["d"]']])
    assert told(opened("pairs:my.csv")) == [("a b", "c"), ("d",)]


def test_a_caption_in_brackets_beside_others_stays_as_it_is(folder: Path) -> None:
    with open("my.csv", "w", newline="") as file:
        csv.writer(file).writerows([["image", "caption"], ["0.jpg", '["a"]'], ["1.jpg", "[1985] a street"]])
    assert told(opened("pairs:my.csv")) == [('["a"]',), ("[1985] a street",)]


def test_a_first_line_for_spreadsheets_names_the_separator(folder: Path) -> None:
    Path("my.csv").write_text("sep=;\nimage;caption\n0.jpg;a, b\n1.jpg\n2.jpg;c\n")
    assert told(opened("pairs:my.csv"))[::2] == [("a, b",), ("c",)]
    assert "line 4 has 1 cells" in told(opened("pairs:my.csv"))[1]


def test_paths_with_white_space_around_them_are_found(folder: Path) -> None:
    Path("my.csv").write_text("image, caption\n 0.jpg , a\n1.jpg, b\n")
    dataset = opened("pairs:my.csv")
    assert (dataset.image(0).size, dataset.image(1).size) == ((6, 4), (6, 4))
    assert dataset.notes == ("1 paths have white space around them and are read without",)


def test_a_map_in_a_cell_is_no_list_of_captions(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = pa.map_(pa.string(), pa.string())
    for key, refused in (("en", True), ("text", False)):
        cells = pa.array([[(key, "a")], [(key, "b")]], kind)
        pq.write_table(pa.table({"image": ["0.jpg", "1.jpg"], "caption": cells}), "my.parquet")
        if refused:
            with pytest.raises(StructureError, match="a caption is an object"):
                opened("pairs:my.parquet")
        else:
            assert told(opened("pairs:my.parquet")) == [("a",), ("b",)]


def test_a_broken_row_costs_one_sample(folder: Path) -> None:
    """Whatever is wrong with it; the others are read as ever, and it is listed with its line."""
    lines = [
        b"image,caption,split",
        b"0.jpg,fine,train",
        "1.jpg,caf\u00e9,train".encode("latin-1"),
        b"2.jpg,one, two,train",
        b'3.jpg,"say" it,train',
        b'"3.jpg","a ""quote""\nand\x0cmore",test',
        *(b"%d.png,fine,train" % number for number in range(10, 16)),
    ]
    Path("my.csv").write_bytes(b"\n".join(lines))
    train = told(opened("pairs:my.csv"))
    assert train[0] == ("fine",)
    assert [text for text in train if isinstance(text, str)] == [
        "my.csv, line 3 is not UTF-8 text (byte 0xe9); 'pairs:my.csv?encoding=cp1252' reads it as Windows writes it",
        "my.csv, line 4 has 4 cells and the header 3; every row needs as many, a comma inside a caption needs quotes "
        '("...") around it: 2.jpg,one, two,train',
        "my.csv, line 5 is not CSV (',' expected after '\"'); quotation marks inside a cell are doubled",
    ]
    assert told(opened("pairs:my.csv", split="test")) == [('a "quote"\nand\x0cmore',)]


def test_a_broken_line_of_json_costs_one_sample(folder: Path) -> None:
    good = [
        json.dumps({"image": f"{number}.jpg", "caption": "fine\u2028indeed"}, ensure_ascii=False)
        for number in (0, 1, 2)
    ]
    bad = ['{"image": "3.jpg", "capt', '{"image": "3.jpg", "caption": 3}']
    Path("my.jsonl").write_text("\n".join([*good, bad[0], *good[:0], bad[1]]))
    assert told(opened("pairs:my.jsonl"))[:3] == [("fine\u2028indeed",)] * 3
    broken, number = told(opened("pairs:my.jsonl"))[3:]
    assert "line 4 is not JSON" in broken
    assert "line 5: a caption is 3; it must be text" in number
    Path("gaps.jsonl").write_text('{"image": "0.jpg", "caption": NaN}\n{"image": "1.jpg", "caption": "ok"}\n')
    assert told(opened("pairs:gaps.jsonl")) == ["gaps.jsonl, line 1: an image without caption", ("ok",)]


def test_a_quotation_mark_that_runs_over_lines_is_no_single_row(folder: Path) -> None:
    Path("my.csv").write_text('image,caption\n0.jpg,fine\n1.jpg,"open\n2.jpg,b\n3.jpg,"c"\n')
    with pytest.raises(StructureError, match=r"line 3.*CSV"):
        opened("pairs:my.csv")


def test_words_for_a_missing_value_are_told(folder: Path) -> None:
    Path("my.csv").write_text("image,caption\n0.jpg,nan\n1.jpg,NaN\n2.jpg,naan bread\n")
    assert opened("pairs:my.csv").notes[0].startswith("2 captions are the word 'nan', which programs write")


def test_karpathys_and_cocos_files_of_any_data(folder: Path) -> None:
    sentences = [{"raw": "a dog", "tokens": ["a", "dog"]}, {"raw": "it runs"}]
    photos = [
        {"filename": "4.jpg", "split": "train", "sentences": sentences},
        {"filename": "4.jpg", "filepath": "", "split": "train", "sentences": []},
    ]
    Path("dataset_own.json").write_text(json.dumps({"dataset": "own", "images": photos[:1]}))
    own = opened("pairs:dataset_own.json")
    assert (told(own), own.split, own.image(0).size) == ([("a dog", "it runs")], "train", (6, 4))
    coco = {
        "images": [{"id": 3, "file_name": "0.jpg"}, {"id": 1, "file_name": "1.jpg"}],
        "annotations": [{"image_id": 1, "caption": "b"}, {"image_id": 3, "caption": "a"}],
    }
    Path("coco.json").write_text(json.dumps(coco))
    assert told(opened("pairs:coco.json")) == [("a",), ("b",)]
    Path("list.json").write_text(json.dumps([{"image": "0.jpg", "caption": ["a", "b"]}]))
    assert told(opened("pairs:list.json")) == [("a", "b")]
    Path("other.json").write_text('{"version": 1}')
    with pytest.raises(StructureError, match="is no table of pairs: it holds version"):
        opened("pairs:other.json")


def test_one_photo_without_text_costs_one_sample(folder: Path) -> None:
    photos = [
        {"filename": f"{number}.jpg", "split": "train", "sentences": [sentence]}
        for number, sentence in enumerate(({"raw": "a"}, {"tokens": ["b"]}, {"raw": "c"}))
    ]
    Path("k.json").write_text(json.dumps({"images": photos}))
    assert told(opened("pairs:k.json")) == [("a",), "k.json, image 2: its caption is empty", ("c",)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "0.jpg,a dog\n1.jpg,a cat\n",
            r"no line with the names of its columns: its first line holds 0.jpg. Write",
        ),
        ("image,caption\nhttps://a.org/b.jpg,a\n", r"holds web addresses, for example https://a.org/b.jpg"),
    ],
)
def test_what_is_no_table_of_files_is_told(text: str, message: str, folder: Path) -> None:
    Path("my.csv").write_text(text)
    with pytest.raises(StructureError, match=message):
        opened("pairs:my.csv")


def test_paths_from_windows_are_read(folder: Path) -> None:
    Path("my.csv").write_text("image,caption\nphotos\\4.jpg,a\n")
    dataset = opened("pairs:my.csv")
    assert dataset.image(0).size == (6, 4)
    assert dataset.notes == ("1 paths are written with backslashes, as on Windows, and read with /",)


def test_a_question_mark_that_is_no_option_stays_in_the_name(folder: Path, write_tar: Any, draw: Draw) -> None:
    write_tar(folder / "shards/part-00.tar", {"0.png": draw(1), "0.txt": b"a"})
    assert told(opened("wds:shards/part-?0.tar")) == [("a",)]
    Path("odd?sep=;.jsonl").write_text('{"image": "0.jpg", "caption": "a"}\n')
    assert told(opened("pairs:odd?sep=;.jsonl")) == [("a",)]
    with pytest.raises(NotPresentError, match="is not here"):
        opened("pairs:gone.csv?sep=;")


def test_classes_that_are_probably_none_or_the_same_are_told(folder: Path) -> None:
    Path("my.csv").write_text("image,label\n0.jpg,Cat\n1.jpg,cat\n2.jpg,nan\n3.jpg,dog\n")
    missing, alike = opened("pairs:my.csv").notes
    assert missing.startswith("a class is called 'nan', which programs write for a missing value")
    assert alike == "the classes Cat and cat differ by case alone and count as 2"


def test_a_column_of_classes_by_another_name_is_offered(folder: Path) -> None:
    Path("my.csv").write_text("image,category\n0.jpg,ant\n1.jpg,bee\n")
    with pytest.raises(StructureError, match="has neither caption, captions nor label") as told:
        opened("pairs:my.csv")
    assert opened(re.findall(r"'(pairs:[^']*label[^']*)'", str(told.value))[0]).tasks["label"].classes == ("ant", "bee")


def test_what_is_to_be_typed_is_typed_as_a_shell_reads_it(folder: Path) -> None:
    Path("it's mine").mkdir()
    Path("it's mine/my.csv").write_text("image;caption\n../0.jpg;a\n")
    with pytest.raises(StructureError) as told:
        opened("pairs:it's mine/my.csv")
    spec = shlex.split(str(told.value).rpartition("Type ")[2].rstrip("."))[0]
    assert spec == "pairs:it's mine/my.csv?sep=;"
    assert len(opened(spec)) == 1


def test_an_image_that_is_the_only_one_of_its_split_and_gone_is_a_bad_sample(folder: Path) -> None:
    """Not a data set in another folder: `datasets check` tells it."""
    lines = [f"{row % 4}.jpg,a {row},train" for row in range(4)] + ["gone.jpg,b,test"]
    Path("my.csv").write_text("image,caption,split\n" + "\n".join(lines) + "\n")
    held_out = opened("pairs:my.csv", split="test")
    with pytest.raises(BadSampleError, match="there is no file"):
        held_out.image(0)
    found = check_data("pairs:my.csv")
    assert [(problem.kind, problem.count) for problem in found.problems if problem.level == "error"] == [
        ("file missing or not readable", 1)
    ]
