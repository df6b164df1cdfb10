"""Captions arrive as they were written: no line is cut, nothing is unescaped, one bad sample costs one sample."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from structure.pipeline.datasets import Dataset, open_dataset
from structure.pipeline.datasets.flickr import read_captions
from structure.pipeline.datasets.text_lines import lines_of
from structure.store.errors import BadSampleError, StructureError

Draw = Callable[..., bytes]
WriteTar = Callable[[Path, dict[str, bytes]], None]

SEPARATORS = "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\r"
"""Where `str.splitlines` ends a line and a caption does not."""


def captions_of(dataset: Dataset) -> list[tuple[str, ...] | str]:
    """The captions of each sample, or why there are none."""
    found: list[tuple[str, ...] | str] = []
    for index in range(len(dataset)):
        try:
            found.append(dataset.item(index).captions)
        except BadSampleError as error:
            found.append(error.reason)
    return found


@pytest.mark.parametrize("mark", SEPARATORS)
def test_lines_end_at_a_newline_alone(mark: str) -> None:
    assert lines_of(f"a{mark}b\nc\r\n") == [f"a{mark}b", "c"]


def test_a_text_beside_an_image_is_cut_at_newlines_alone(tmp_path: Path, draw: Draw) -> None:
    (tmp_path / "pics").mkdir()
    for number, mark in enumerate(SEPARATORS):
        (tmp_path / f"pics/{number}.png").write_bytes(draw(number))
        (tmp_path / f"pics/{number}.txt").write_bytes(f"one{mark}half\r\ntwo\n".encode())
    assert captions_of(open_dataset("sidecar:pics", data_root=tmp_path)) == [
        (f"one{mark}half", "two") for mark in SEPARATORS
    ]


def shards(folder: Path, write_tar: WriteTar, members: dict[str, Any]) -> Dataset:
    """Members by name; an image is drawn for each key."""
    from tests.datasets.conftest import draw

    keys = dict.fromkeys(name.partition(".")[0] for name in members)
    given = {name: value if isinstance(value, bytes) else json.dumps(value).encode() for name, value in members.items()}
    write_tar(folder / "0.tar", {**{f"{key}.jpg": draw(1, form="JPEG") for key in keys}, **given})
    return open_dataset(f"wds:{folder}", data_root=".")


def test_a_backslash_and_an_n_stay_what_they_are(tmp_path: Path, write_tar: WriteTar) -> None:
    dataset = shards(tmp_path, write_tar, {"0.txt": rb"$\nu$ and $\nabla u$", "1.txt": rb"C:\new\\notes"})
    assert captions_of(dataset) == [(r"$\nu$ and $\nabla u$",), (r"C:\new\\notes",)]


def test_the_caption_of_the_json_wins_over_a_text_that_holds_it_cut(tmp_path: Path, write_tar: WriteTar) -> None:
    whole = "Sunset over the bay\n\nShot on film"
    members = {
        "0.txt": whole.encode(),
        "0.json": {"caption": whole},
        "1.txt": b"Sunset over the bay",
        "1.json": {"caption": whole},
        "2.json": {"captions": ["one", "two "]},
        "3.txt": b"first\nsecond",
        "3.json": {"caption": "first"},
        "4.txt": b"a new caption",
        "4.json": {"caption": "the old one"},
        "5.txt": "one\n\ntwo\x85half".encode(),
        "5.json": {"width": 3},
    }
    dataset = shards(tmp_path, write_tar, members)
    assert captions_of(dataset) == [
        (whole,),
        (whole,),
        ("one", "two"),
        ("first", "second"),
        ("a new caption",),
        ("one", "two\x85half"),
    ]
    assert dataset.notes == ("1 samples have another caption in .json than in .txt; .txt is read",)


def test_one_bad_sample_of_a_tar_is_skipped_with_its_reason(tmp_path: Path, write_tar: WriteTar, draw: Draw) -> None:
    members: dict[str, Any] = {"0.txt": b"fine", "1.txt": "café".encode("latin-1"), "2.json": b"{", "3.txt": b"fine"}
    texts = captions_of(shards(tmp_path / "texts", write_tar, members))
    assert texts[::3] == [("fine",), ("fine",)]
    assert "member 1.txt is not captions in UTF-8" in texts[1]
    assert "2 has no .txt, and no caption in its .json" in texts[2]
    labels = shards(tmp_path / "labels", write_tar, {"0.cls": b"1", "1.cls": b"dog", "2.cls": b"0"})
    assert (labels.item(0).labels, labels.item(2).labels) == ({"label": 1}, {"label": 0})
    with pytest.raises(BadSampleError, match="member 1.cls is not a whole number: b'dog'"):
        labels.item(1)


def test_a_member_that_is_there_twice_costs_its_sample(tmp_path: Path, draw: Draw) -> None:
    import io
    import tarfile

    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for name, data in (("0.png", draw(0)), ("0.txt", b"a"), ("0.txt", b"b"), ("1.png", draw(1)), ("1.txt", b"c")):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    twice, once = captions_of(open_dataset(f"wds:{tmp_path}", data_root="."))
    assert ("member 0.txt is there twice" in twice, once) == (True, ("c",))


def test_dots_in_file_names_are_named_as_the_cause(tmp_path: Path, write_tar: WriteTar, draw: Draw) -> None:
    """In a webdataset the key ends at the first dot, so these three are one sample."""
    names = [f"PMC1.2_fig{number}.{end}" for number in range(3) for end in ("jpg", "txt")]
    write_tar(tmp_path / "0.tar", dict.fromkeys(names, b"x"))
    with pytest.raises(StructureError, match=r"3 whose names go on after a dot .*such as PMC1_2_fig0.jpg"):
        open_dataset(f"wds:{tmp_path}", data_root=".")


def test_the_kind_of_a_tar_is_not_that_of_its_first_sample(tmp_path: Path, write_tar: WriteTar) -> None:
    dataset = shards(tmp_path, write_tar, {"0.cls": b"1", "1.txt": b"a", "2.txt": b"b"})
    assert (dataset.kind, captions_of(dataset)[1:]) == ("retrieval", [("a",), ("b",)])


@pytest.mark.parametrize(
    ("table", "caption"),
    [
        ("image,caption\na.jpg,A dog, runs , fast\n", "A dog, runs , fast"),
        ('image,caption\na.jpg,"A ""big"" dog, runs"\n', 'A "big" dog, runs'),
        ('image,caption\na.jpg,"Stop" says the sign, twice\n', '"Stop" says the sign, twice'),
        ("image_name,comment_number,comment\na.jpg,0, A dog,  runs .\n", "A dog,  runs ."),
        ("image_name| comment_number| comment\na.jpg| 0| A sign | A dog\n", "A sign | A dog"),
        ("a.jpg#0\tA form\x0cfeed\x85and more\n", "A form\x0cfeed\x85and more"),
        ("a.jpg.1#0\tA dog\n", "A dog"),
    ],
)
def test_captions_of_the_flickr_files(table: str, caption: str, tmp_path: Path) -> None:
    (tmp_path / "captions").write_text(table, newline="")
    assert [(photo.name, photo.captions) for photo in read_captions(tmp_path / "captions")] == [("a.jpg", (caption,))]


def test_captions_of_many_languages_keep_their_lines(tmp_path: Path) -> None:
    """XTD pairs the lines of two files: one cut too many gives every later image the caption of another."""
    root = tmp_path / "xtd10"
    root.mkdir()
    (root / "test_image_names.txt").write_text("a.jpg\nb.jpg\n")
    (root / "test_1kcaptions_de.txt").write_bytes("ein\u2028Hund\nzwei\x85Hunde\n".encode())
    (root / "images").mkdir()
    assert captions_of(open_dataset("clip-benchmark:xtd10/de", data_root=tmp_path)) == [
        ("ein\u2028Hund",),
        ("zwei\x85Hunde",),
    ]
