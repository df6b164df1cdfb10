"""`folder:` and `masks:`: what becomes a sample, what is counted as left out, and what is refused."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from structure.pipeline.datasets.folder import Folder
from structure.pipeline.datasets.masks import Masks
from structure.store.errors import BadSampleError, NotPresentError, StructureError

Draw = Callable[..., bytes]


def put(file: Path, data: bytes = b"x") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)


def test_classes_are_folders_in_sorted_order(tmp_path: Path, draw: Draw) -> None:
    for name in ("dog/b.png", "dog/a.JPG", "ant/deep/er/c.webp", "Zoo/z.png"):
        put(tmp_path / "pets" / name, draw(1))
    dataset = Folder(tmp_path / "pets")
    assert dataset.tasks["label"].classes == ("Zoo", "ant", "dog")
    assert dataset.ids == ("Zoo/z.png", "ant/deep/er/c.webp", "dog/a.JPG", "dog/b.png")
    assert [dataset.item(i).labels["label"] for i in range(4)] == [0, 1, 2, 2]
    assert (dataset.name, dataset.split, dataset.kind, dataset.notes) == ("pets", "all", "classification", ())


def test_what_is_left_out_is_counted(tmp_path: Path, draw: Draw) -> None:
    root = tmp_path / "pets"
    for name in ("dog/a.png", "dog/.a.png", ".git/x.png", "dog/Thumbs.db", "dog/notes.txt", "loose.png"):
        put(root / name, draw(1))
    (root / "empty").mkdir()
    dataset = Folder(root)
    assert dataset.ids == ("dog/a.png",)
    assert dataset.tasks["label"].classes == ("dog", "empty")
    assert dataset.notes == (
        "2 hidden files left out (.git/x.png, ...); 2 files that are no images left out (dog/Thumbs.db, ...); "
        "1 image outside class folders left out (loose.png)",
        "1 class without image (empty)",
    )


def test_split_folders_share_their_classes(tmp_path: Path, draw: Draw) -> None:
    for name in ("train/ant/a.png", "train/bee/b.png", "val/bee/c.png", "val/cat/d.png"):
        put(tmp_path / "set" / name, draw(1))
    train, val = Folder(tmp_path / "set"), Folder(tmp_path / "set", split="val")
    assert (train.split, train.ids) == ("train", ("train/ant/a.png", "train/bee/b.png"))
    assert [val.item(i).labels["label"] for i in range(2)] == [1, 2]
    assert train.tasks["label"].classes == val.tasks["label"].classes == ("ant", "bee", "cat")
    with pytest.raises(StructureError, match="Unknown split 'test'"):
        Folder(tmp_path / "set", split="test")


def test_links_are_followed_and_a_circle_ends(tmp_path: Path, draw: Draw) -> None:
    put(tmp_path / "store/cats/a.png", draw(1))
    (tmp_path / "set").mkdir()
    os.symlink(tmp_path / "store/cats", tmp_path / "set/cat")
    os.symlink(tmp_path / "set", tmp_path / "store/cats/again")
    assert Folder(tmp_path / "set").ids == ("cat/a.png",)


def test_a_folder_without_class_folders(tmp_path: Path, draw: Draw) -> None:
    put(tmp_path / "flat/a.png", draw(1))
    with pytest.raises(StructureError, match=r"0 class folders and no image inside them \(1 image outside .*a.png"):
        Folder(tmp_path / "flat")
    with pytest.raises(NotPresentError, match=r"There is no folder /.*/nowhere"):
        Folder(tmp_path / "nowhere")


def test_a_file_name_that_is_not_unicode_is_refused(tmp_path: Path, draw: Draw) -> None:
    put(tmp_path / "set/dog/a.png", draw(1))
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/set/dog/\xff.png")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    with pytest.raises(StructureError, match="is not Unicode text"):
        Folder(tmp_path / "set")


def png(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture
def masked(tmp_path: Path, draw: Draw) -> Path:
    """Two images of 6 x 4 with the ids 0, 7, 40 and 255."""
    root = tmp_path / "street"
    for number in range(2):
        put(root / f"images/{number}.jpg", draw(number, form="JPEG"))
        values = np.array([[0, 7, 40, 255, 7, number * 7]] * 4, np.uint8)
        put(root / f"masks/{number}.png", png(values))
    put(root / "classes.json", json.dumps({"40": "tree", "0": "sky", "7": "road"}).encode())
    return root


def test_ids_become_gapless_classes_and_255_is_ignored(masked: Path) -> None:
    dataset = Masks(masked)
    assert dataset.mask_classes == ("sky", "road", "tree")
    mask = dataset.mask(1)
    assert (mask.dtype, mask.shape) == (np.int32, (4, 6))
    assert mask[0].tolist() == [0, 1, 2, 255, 1, 1]
    assert (dataset.ids, dataset.kind, dataset.item(0).captions) == (("0", "1"), "segmentation", ())


def test_ids_beyond_a_byte_and_palettes(masked: Path) -> None:
    put(masked / "classes.json", json.dumps({"0": "sky", "300": "road"}).encode())
    put(masked / "masks/0.png", png(np.full((4, 6), 300, np.uint16)))
    palette = Image.fromarray(np.zeros((4, 6), np.uint8), "L").convert("P")
    palette.save(masked / "masks/1.png")
    dataset = Masks(masked)
    assert set(dataset.mask(0).ravel().tolist()) == {1}
    assert set(dataset.mask(1).ravel().tolist()) == {0}


def test_a_list_of_names_numbers_them_from_zero(masked: Path) -> None:
    put(masked / "classes.json", json.dumps([f"c{i}" for i in range(41)]).encode())
    assert Masks(masked).mask(0)[0].tolist() == [0, 7, 40, 255, 7, 0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            np.array([[0, 3, 9, 9, 9, 0]] * 4, np.uint8),
            r"masks/0.png has the id 3 and 1 more on 16 pixels.*names 3 other ids",
        ),
        (np.zeros((6, 4), np.uint8), r"masks/0.png is 4 x 6 and its image 6 x 4"),
        (np.zeros((4, 6, 3), np.uint8), r"masks/0.png is a RGB image; a mask has one channel"),
    ],
)
def test_a_mask_that_cannot_be_used(masked: Path, values: np.ndarray, message: str) -> None:
    put(masked / "masks/0.png", png(values))
    with pytest.raises(BadSampleError, match=message):
        Masks(masked).mask(0)


def test_a_damaged_mask_is_named(masked: Path) -> None:
    put(masked / "masks/0.png", (masked / "masks/0.png").read_bytes()[:50])
    with pytest.raises(BadSampleError, match=r"the mask .*masks/0.png is damaged"):
        Masks(masked).mask(0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda root: (root / "masks/1.png").unlink(),
            r"1 of 2 names are in images/ and not in masks/, the first is 1",
        ),
        (lambda root: (root / "images/1.jpg").unlink(), r"1 of 2 names are in masks/ and not in images/"),
        (lambda root: put(root / "images/1.png"), r"both 1.jpg and 1.png"),
        (lambda root: (root / "classes.json").unlink(), r"has no classes.json"),
        (lambda root: put(root / "classes.json", b"{"), r"is not a class list"),
        (lambda root: put(root / "classes.json", b'{"a": "b"}'), r"is not a class list"),
        (lambda root: put(root / "classes.json", b'{"1": "a", "01": "b"}'), r"every id needs one name"),
        (lambda root: put(root / "classes.json", b'{"-1": "a"}'), r"ids are from -1 to -1"),
        (lambda root: put(root / "classes.json", json.dumps(["c"] * 256).encode()), r"names 256 classes"),
    ],
)
def test_a_masks_folder_that_is_not_whole(masked: Path, change: Callable[[Path], None], message: str) -> None:
    change(masked)
    with pytest.raises(StructureError, match=message):
        Masks(masked)
