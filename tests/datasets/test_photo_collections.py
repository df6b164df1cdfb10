"""COCO, Flickr8k and Flickr30k in their usual folders, each form of their annotation files, and what may be lacking."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from structure.pipeline.datasets import open_dataset
from structure.pipeline.datasets.flickr import read_captions
from structure.store.errors import BadSampleError, NotPresentError, StructureError

Draw = Callable[..., bytes]


def put(file: Path, data: bytes | str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data.encode() if isinstance(data, str) else data)


def coco_annotations(captions: dict[str, list[str]]) -> str:
    images = [{"id": number * 11, "file_name": name} for number, name in enumerate(captions)]
    annotations = [
        {"id": 0, "image_id": image["id"], "caption": caption}
        for position in range(9)
        for image in reversed(images)
        for caption in captions[str(image["file_name"])][position : position + 1]
    ]
    return json.dumps({"info": {}, "images": images, "annotations": annotations})


def karpathy(rows: list[tuple[str, str, list[str]]], **more: Any) -> str:
    images = [
        {"filename": name, "split": split, "sentences": [{"raw": text, "tokens": []} for text in texts], **more}
        for name, split, texts in rows
    ]
    return json.dumps({"dataset": "x", "images": images})


@pytest.fixture
def coco(tmp_path: Path, draw: Draw) -> Path:
    root = tmp_path / "coco"
    for part, names in (("train2014", ["t1.jpg", "t2.jpg"]), ("val2014", ["v1.jpg", "v2.jpg"])):
        for number, name in enumerate(names):
            put(root / part / name, draw(number, form="JPEG"))
        put(
            root / f"annotations/captions_{part}.json",
            coco_annotations({name: [f"{name} one \n", f"{name} two"] for name in names}),
        )
    return tmp_path


def test_coco_parts_and_their_short_names(coco: Path) -> None:
    train = open_dataset("coco", data_root=coco)
    assert (train.name, train.split, train.kind) == ("coco", "train2014", "retrieval")
    assert [train.item(i).id for i in range(len(train))] == ["t1.jpg", "t2.jpg"]
    assert train.item(1).captions == ("t2.jpg one", "t2.jpg two")
    assert train.image(0).size == (6, 4)
    assert open_dataset("coco", split="val", data_root=coco).split == "val2014"
    with pytest.raises(
        NotPresentError, match=r"test needs dataset_coco.json.*splits that are there are: train2014, val2014"
    ):
        open_dataset("coco", split="test", data_root=coco)


def test_coco_by_karpathy(coco: Path) -> None:
    rows = [("v2.jpg", "test", ["five"]), ("v1.jpg", "restval", ["four"])]
    put(coco / "coco/dataset_coco.json", karpathy(rows, filepath="val2014"))
    test = open_dataset("coco", split="test", data_root=coco)
    assert (test.split, test.item(0).id, test.item(0).captions) == ("karpathy-test", "v2.jpg", ("five",))
    assert test.image(0).mode == "RGB"
    assert open_dataset("coco", split="karpathy-restval", data_root=coco).item(0).id == "v1.jpg"
    with pytest.raises(StructureError, match="0 photos of coco split karpathy-val"):
        open_dataset("coco", split="karpathy-val", data_root=coco)
    with pytest.raises(StructureError, match="Did you mean karpathy-test"):
        open_dataset("coco", split="karpaty-test", data_root=coco)


def test_coco_of_2017_below_images(coco: Path) -> None:
    (coco / "coco").rename(coco / "COCO")
    (coco / "COCO/images").mkdir()
    (coco / "COCO/train2014").rename(coco / "COCO/images/train2017")
    (coco / "COCO/annotations/captions_train2014.json").rename(coco / "COCO/annotations/captions_train2017.json")
    assert open_dataset("coco", data_root=coco).split == "train2017"
    assert open_dataset("coco", data_root=coco).image(0).mode == "RGB"


def test_coco_that_is_not_whole(coco: Path, tmp_path: Path) -> None:
    with pytest.raises(NotPresentError, match=r"Looked for in .*/coco, .*cocodataset.org"):
        open_dataset("coco", data_root=tmp_path / "nowhere")
    (coco / "coco/train2014").rename(coco / "coco/elsewhere")
    with pytest.raises(NotPresentError, match=r"images of train2014 are not in .*folder train2014 or images/train2014"):
        open_dataset("coco", data_root=coco)
    annotations = coco / "coco/annotations/captions_val2014.json"
    put(annotations, coco_annotations({"v1.jpg": [], "v2.jpg": ["x"], "gone.jpg": ["y"]}))
    val = open_dataset("coco", split="val2014", data_root=coco)
    with pytest.raises(BadSampleError, match=r"v1.jpg: .*captions_val2014.json has no caption"):
        val.item(0)
    with pytest.raises(BadSampleError, match=r"there is no file .*gone.jpg"):
        val.image(2)
    for text, message in (
        ('{"images": [', "is not JSON"),
        ('{"annotations": []}', "no list 'images'"),
        ('{"images": [3], "annotations": []}', "is not the annotation file"),
    ):
        put(annotations, text)
        with pytest.raises(StructureError, match=message):
            open_dataset("coco", split="val2014", data_root=coco)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Flickr8k.token.txt", "a.jpg#0\tA dog , runs .\na.jpg#1\tTwo\nb.jpg#0\tA cat\n"),
        ("results_20130124.token", "a.jpg#0\tA dog , runs .\na.jpg#1\tTwo\nb.jpg#0\tA cat\n"),
        (
            "results.csv",
            "image_name| comment_number| comment\na.jpg| 0| A dog , runs .\na.jpg| 1   Two\nb.jpg| 0| A cat\n",
        ),
        ("captions.txt", 'image,caption\na.jpg,"A dog , runs ."\na.jpg,Two\nb.jpg,A cat\n'),
        ("captions.txt", 'image_name,comment_number,comment\na.jpg,0, A dog , runs .\na.jpg,1," Two"\nb.jpg,0,A cat\n'),
    ],
)
def test_every_form_of_caption_file(tmp_path: Path, name: str, text: str) -> None:
    put(tmp_path / name, text)
    photos = read_captions(tmp_path / name)
    assert [photo.name for photo in photos] == ["a.jpg", "b.jpg"]
    assert [caption.replace(" ", "") for caption in photos[0].captions] == ["Adog,runs.", "Two"]
    assert photos[1].captions == ("A cat",)


def test_a_caption_file_with_a_broken_line(tmp_path: Path) -> None:
    put(tmp_path / "x.token", "a.jpg#0\tA dog\nb.jpg#0\n")
    with pytest.raises(StructureError, match=r"x.token, line 2 is not a file name with a caption: 'b.jpg#0'"):
        read_captions(tmp_path / "x.token")


def test_flickr30k_by_karpathy_and_whole(tmp_path: Path, draw: Draw) -> None:
    root = tmp_path / "flickr30k"
    for number, name in enumerate(("a.jpg", "b.jpg", "c.jpg")):
        put(root / "flickr30k-images" / name, draw(number, form="JPEG"))
    put(root / "results_20130124.token", "".join(f"{name}#0\tPhoto {name} .\n" for name in ("c.jpg", "a.jpg", "b.jpg")))
    assert [p.id for p in map(open_dataset("flickr30k", split="all", data_root=tmp_path).item, range(3))] == [
        "c.jpg",
        "a.jpg",
        "b.jpg",
    ]
    with pytest.raises(NotPresentError, match=r"split test needs dataset_flickr30k.json.*there are: all"):
        open_dataset("flickr30k", split="test", data_root=tmp_path)
    put(root / "dataset_flickr30k.json", karpathy([("a.jpg", "train", ["x"]), ("b.jpg", "test", ["y", "z"])]))
    test = open_dataset("flickr30k", split="test", data_root=tmp_path)
    assert (test.name, test.split, len(test), test.item(0).captions) == ("flickr30k", "test", 1, ("y", "z"))
    assert open_dataset("flickr30k", split="karpathy-test", data_root=tmp_path).split == "test"
    assert test.image(0).mode == "RGB"


def test_flickr8k_by_its_own_lists(tmp_path: Path, draw: Draw) -> None:
    root = tmp_path / "flickr8k"
    for number, name in enumerate(("a.jpg", "b.jpg")):
        put(root / "Flicker8k_Dataset" / name, draw(number, form="JPEG"))
    put(root / "Flickr8k_text/Flickr8k.token.txt", "b.jpg#0\tB\na.jpg#0\tA\n")
    put(root / "Flickr8k_text/Flickr_8k.devImages.txt", "a.jpg\nnocaption.jpg\n")
    val = open_dataset("flickr8k", split="val", data_root=tmp_path)
    assert [val.ids[i] for i in range(2)] == ["a.jpg", "nocaption.jpg"]  # type: ignore[attr-defined]
    assert val.item(0).captions == ("A",)
    with pytest.raises(BadSampleError, match="no caption"):
        val.item(1)
    (root / "Flicker8k_Dataset").rename(root / "pictures")
    with pytest.raises(NotPresentError, match=r"the images are not in .*folder Images or images or Flicker8k_Dataset"):
        open_dataset("flickr8k", split="val", data_root=tmp_path)
