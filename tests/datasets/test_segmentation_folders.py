"""VOC, Context, ADE20K and COCO-Stuff from tiny folders in their usual layouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from structure.pipeline.datasets.catalogue import published_names
from structure.pipeline.datasets.content_stamp import content_stamp
from structure.pipeline.datasets.loading import open_dataset
from structure.store.errors import BadSampleError, NotPresentError, StructureError

VALUES = np.array([[0, 1, 20], [255, 2, 5]], np.uint8)


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (3, 2), "grey").save(path)


def mask(path: Path, values: np.ndarray = VALUES) -> None:
    """A palette image, as VOC has them: the ids are the indices."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = Image.fromarray(values)
    made = made.convert("P")
    made.putdata(values.flatten().tolist())
    made.save(path)


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def test_voc_and_context(tmp_path: Path) -> None:
    for year, part, lists, name, last in (
        ("VOC2012", "SegmentationClass", "Segmentation", "voc20", "tv monitor"),
        ("VOC2010", "SegmentationClassContext", "SegmentationContext", "context59", "wood"),
    ):
        root = tmp_path / "VOCdevkit" / year
        text(root / "ImageSets" / lists / "val.txt", "2007_000033\n")
        image(root / "JPEGImages" / "2007_000033.jpg")
        mask(root / part / "2007_000033.png")
        found = open_dataset(name, data_root=tmp_path)
        assert (found.kind, found.split, found.item(0).id) == ("segmentation", "val", "2007_000033")
        np.testing.assert_array_equal(found.mask(0), VALUES)
        assert found.mask_classes[0] == "background"
        assert (len(found.mask_classes), found.mask_classes[-1]) == (int(name[-2:]) + 1, last)
        assert found.image(0).size == (3, 2)
    mask(root / part / "2007_000033.png", VALUES + 40)
    with pytest.raises(BadSampleError, match="has the id 60, and context59 has 60 others"):
        found.mask(0)
    text(root / "ImageSets" / lists / "val.txt", "../../2007_000033\n")
    with pytest.raises(StructureError, match="line 1 is no name of an image"):
        open_dataset("context59", data_root=tmp_path)


def test_ade20k_ignores_what_it_does_not_name(tmp_path: Path) -> None:
    root = tmp_path / "ADEChallengeData2016"
    rows = [f"{n}\t0.1\t10\t2\t{'wall' if n == 1 else f'name {n}, other'}" for n in range(1, 151)]
    text(root / "objectInfo150.txt", "\n".join(["Idx\tRatio\tTrain\tVal\tName", *rows]) + "\n")
    image(root / "images" / "validation" / "ADE_val_1.jpg")
    mask(root / "annotations" / "validation" / "ADE_val_1.png")
    found = open_dataset("ade20k", data_root=tmp_path)
    np.testing.assert_array_equal(found.mask(0), [[255, 0, 19], [255, 1, 4]])
    assert found.mask_classes[:2] == ("wall", "name 2")
    assert len(found.mask_classes) == 150
    before = content_stamp("ade20k", split="val", data_root=tmp_path)
    mask(root / "annotations" / "validation" / "ADE_val_1.png", VALUES[:1])
    assert content_stamp("ade20k", split="val", data_root=tmp_path) != before


def test_coco_stuff_has_171_of_its_182_names(tmp_path: Path) -> None:
    root = tmp_path / "coco"
    text(root / "labels.txt", "".join(f"{n}: {'unlabeled' if n == 0 else f'name-{n}'}\n" for n in range(183)))
    image(root / "val2017" / "000000000139.jpg")
    mask(root / "stuffthingmaps" / "val2017" / "000000000139.png", np.array([[0, 181, 255]], np.uint8))
    found = open_dataset("coco-stuff", data_root=tmp_path)
    assert (len(found.mask_classes), found.mask_classes[0], found.mask_classes[-1]) == (171, "name 1", "name 182")
    np.testing.assert_array_equal(found.mask(0), [[0, 170, 255]])
    mask(root / "stuffthingmaps" / "val2017" / "000000000139.png", np.array([[11]], np.uint8))
    with pytest.raises(BadSampleError, match="has the id 11"):
        found.mask(0)


def test_absent_sets_say_how_to_get_them(tmp_path: Path) -> None:
    for name in published_names("segmentation"):
        with pytest.raises(NotPresentError, match=rf"Dataset {name} is not on this machine: it needs .* To get it: "):
            open_dataset(name, data_root=tmp_path)
    with pytest.raises(StructureError, match="split of voc20"):
        open_dataset("voc20", split="train", data_root=tmp_path)
