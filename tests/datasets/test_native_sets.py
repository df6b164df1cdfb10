"""sugar_crepe, winoground, crossmodal3600 and xtd10 in their authors' files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from structure.pipeline.datasets import open_dataset
from structure.pipeline.suites.suite import load_suite
from structure.store.errors import BadSampleError, NotPresentError, StructureError


def image(path: Path, colour: str = "red") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), colour).save(path)


def sugar_crepe(root: Path) -> None:
    rows = {str(key): {"filename": "1.jpg", "caption": f"right {key}", "negative_caption": "wrong"} for key in (0, 7)}
    image(root / "sugar_crepe" / "val2017" / "1.jpg")
    (root / "sugar_crepe" / "swap_obj.json").write_text(json.dumps(rows))


def winoground(root: Path) -> None:
    row = {"id": 3, "image_0": "ex_3_img_0", "image_1": "ex_3_img_1", "caption_0": "a b", "caption_1": "b a"}
    for side in (0, 1):
        image(root / "winoground" / "data" / "images" / f"ex_3_img_{side}.png")
    (root / "winoground" / "data" / "examples.jsonl").write_text(json.dumps(row) + "\n")


def crossmodal(root: Path) -> None:
    row = {"image/key": "abc", "de": {"caption": ["ein Hund", "noch einer"]}, "ja": {"caption": ["犬"]}}
    image(root / "crossmodal3600" / "images" / "abc.jpg")
    (root / "crossmodal3600" / "captions.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")


def xtd(root: Path) -> None:
    for name in ("x.jpg", "y.jpg"):
        image(root / "xtd10" / "images" / name)
    (root / "xtd10" / "test_image_names.txt").write_text("x.jpg\ny.jpg\n")
    (root / "xtd10" / "test_1kcaptions_ru.txt").write_text("кот\nщи\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("make", "spec", "kind", "ids", "captions"),
    [
        (sugar_crepe, "sugar_crepe/swap_obj", "selection", ["0", "7"], [("right 0", "wrong"), ("right 7", "wrong")]),
        (winoground, "winoground", "selection", ["3/0", "3/1"], [("a b",), ("b a",)]),
        (crossmodal, "crossmodal3600/ja", "retrieval", ["abc"], [("犬",)]),
        (crossmodal, "crossmodal3600/de", "retrieval", ["abc"], [("ein Hund",)]),
        (xtd, "xtd10/ru", "retrieval", ["x.jpg", "y.jpg"], [("кот",), ("щи",)]),
    ],
)
def test_what_they_hold(
    tmp_path: Path,
    make: Callable[[Path], None],
    spec: str,
    kind: str,
    ids: list[str],
    captions: list[tuple[str, ...]],
) -> None:
    make(tmp_path)
    found = open_dataset(f"clip-benchmark:{spec}", data_root=tmp_path)
    items = [found.item(index) for index in range(len(found))]
    assert (found.kind, [item.id for item in items], [item.captions for item in items]) == (kind, ids, captions)
    assert found.image(len(found) - 1).size == (8, 8)


def test_languages_are_splits_of_one_dataset(tmp_path: Path) -> None:
    crossmodal(tmp_path)
    german, japanese = (
        open_dataset(f"clip-benchmark:crossmodal3600/{code}", data_root=tmp_path) for code in ("de", "ja")
    )
    assert german.name == japanese.name == "crossmodal3600"
    assert (german.split, japanese.split) == ("test.de", "test.ja")


def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotPresentError, match=r"xtd10/ru is not on this machine; .*test_1kcaptions_ru.txt in"):
        open_dataset("clip-benchmark:xtd10/ru", data_root=tmp_path)
    xtd(tmp_path)
    with pytest.raises(NotPresentError, match=r"lacks .*test_1kcaptions_pl.txt"):
        open_dataset("clip-benchmark:xtd10/pl", data_root=tmp_path)
    with pytest.raises(StructureError, match=r"Unknown part of xtd10 'rus'"):
        open_dataset("clip-benchmark:xtd10/rus", data_root=tmp_path)
    with pytest.raises(StructureError, match=r"Unknown split 'train'"):
        open_dataset("clip-benchmark:xtd10/ru", split="train", data_root=tmp_path)
    (tmp_path / "xtd10" / "test_1kcaptions_ru.txt").write_text("кот\n", encoding="utf-8")
    with pytest.raises(StructureError, match=r"test_image_names.txt has 2 lines and .* has 1"):
        open_dataset("clip-benchmark:xtd10/ru", data_root=tmp_path)
    crossmodal(tmp_path)
    file = tmp_path / "crossmodal3600" / "captions.jsonl"
    file.write_text(file.read_text() + "{\n")
    with pytest.raises(StructureError, match=r"captions.jsonl, line 2 is not JSON"):
        open_dataset("clip-benchmark:crossmodal3600/de", data_root=tmp_path)
    sugar_crepe(tmp_path)
    file = tmp_path / "sugar_crepe" / "swap_obj.json"
    rows = {"0": {"filename": "1.jpg", "caption": " ", "negative_caption": "x"}}
    file.write_text(json.dumps(rows))
    with pytest.raises(BadSampleError, match="entry 0 has an empty caption"):
        open_dataset("clip-benchmark:sugar_crepe/swap_obj", data_root=tmp_path).item(0)
    rows["0"]["filename"] = "../../secret.jpg"
    file.write_text(json.dumps(rows))
    with pytest.raises(StructureError, match="leads out of"):
        open_dataset("clip-benchmark:sugar_crepe/swap_obj", data_root=tmp_path)
    file.write_text(json.dumps({"0": {"file": "1.jpg"}}))
    with pytest.raises(StructureError, match="not as published: KeyError 'filename'"):
        open_dataset("clip-benchmark:sugar_crepe/swap_obj", data_root=tmp_path)


def test_every_language_of_the_suite_can_be_opened(tmp_path: Path) -> None:
    suite = load_suite("multilingual")
    assert (len(suite.select(["crossmodal3600"])), len(suite.select(["xtd10"]))) == (36, 11)
    for task in suite.tasks:
        assert task.name.endswith(f"/{task.language}")
        with pytest.raises(NotPresentError):
            open_dataset(task.dataset, data_root=tmp_path)
