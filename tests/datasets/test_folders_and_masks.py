"""`folder:` and `masks:`: what becomes a sample, what is counted as left out, and what is refused."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from structure.pipeline.datasets import open_dataset
from structure.pipeline.datasets.content_stamp import content_stamp
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


def test_split_folders_are_known_in_any_case_and_beside_what_archivers_leave(tmp_path: Path, draw: Draw) -> None:
    """A zip made on a Mac leaves `__MACOSX` beside the data; folders without images say nothing of it."""
    root = tmp_path / "chest"
    for name in ("Training/ill/a.png", "Training/well/b.png", "Testing/ill/c.png", "__MACOSX/chest/Training/._a.png"):
        put(root / name, draw(1))
    put(root / "documents/terms.pdf")
    put(root / "@eaDir/a.png/thumbnail.jpg", draw(2))
    train, test = Folder(root), Folder(root, split="test")
    assert (train.split, train.ids) == ("train", ("Training/ill/a.png", "Training/well/b.png"))
    assert (test.split, test.ids, test.splits) == ("test", ("Testing/ill/c.png",), ("test", "train"))
    assert train.tasks["label"].classes == test.tasks["label"].classes == ("ill", "well")


def test_folders_of_which_some_are_splits_are_refused_with_a_remedy_that_works(tmp_path: Path, draw: Draw) -> None:
    root = tmp_path / "set"
    for name in ("train/ant/a.png", "test/ant/b.png", "more/ant/c.png"):
        put(root / name, draw(1))
    with pytest.raises(StructureError, match=r"has test, train, which are names of splits, beside more") as refused:
        Folder(root)
    first, second = re.findall(r"'folder:([^']*)'", str(refused.value))
    assert open_dataset(f"folder:{first}", data_root=tmp_path).notes == ("1 folder in no split left out (more)",)
    classes = open_dataset(f"folder:{second}", data_root=tmp_path).tasks["label"].classes
    assert classes == ("more", "test", "train")
    for name in ("TRAIN/ant/a.png", "more/x.png"):
        put(tmp_path / "twice" / name, draw(1))
    put(tmp_path / "twice/training/ant/a.png", draw(1))
    with pytest.raises(StructureError, match="TRAIN,training: two of these folders mean the same split"):
        Folder(tmp_path / "twice", splits="TRAIN,training")


@pytest.mark.parametrize(
    ("names", "remedy"),
    [
        (("set/train/ant/a.png", "set/test/ant/b.png"), "Type folder:[^ ]*/top/set if its folders are the splits"),
        (("ant/train/a.png", "ant/test/b.png", "bee/train/c.png"), "Put the folders of the splits outermost"),
    ],
)
def test_splits_one_level_deeper_are_not_drawn_anew(
    names: tuple[str, ...], remedy: str, tmp_path: Path, draw: Draw
) -> None:
    for name in names:
        put(tmp_path / "top" / name, draw(1))
    with pytest.raises(StructureError, match=f"holds images in test, train.*held out wrongly. {remedy}"):
        Folder(tmp_path / "top")
    assert len(Folder(tmp_path / "top", splits="none")) == len(names)


def test_a_folder_around_the_classes_is_told(tmp_path: Path, draw: Draw) -> None:
    for name in ("PetImages/Cat/a.png", "PetImages/Dog/b.png"):
        put(tmp_path / "set" / name, draw(1))
    (note,) = Folder(tmp_path / "set").notes
    assert note.startswith("there is 1 class, PetImages, and its images lie in 2 folders inside it (Cat, Dog).")
    advised = note.rpartition("type ")[2]
    assert open_dataset(advised, data_root=tmp_path).tasks["label"].classes == ("Cat", "Dog")


def test_captions_beside_images_in_split_folders(tmp_path: Path, draw: Draw) -> None:
    for name in ("train/a", "train/b", "valid/c"):
        put(tmp_path / f"set/{name}.png", draw(1))
        put(tmp_path / f"set/{name}.txt", name.encode())
    train = open_dataset("sidecar:set", data_root=tmp_path)
    assert (train.split, [train.item(i).captions for i in range(2)]) == ("train", [("train/a",), ("train/b",)])
    held_out = open_dataset("sidecar:set", split="val", data_root=tmp_path)
    assert (held_out.split, held_out.item(0).captions) == ("valid", ("valid/c",))
    put(tmp_path / "set/loose.png", draw(1))
    with pytest.raises(StructureError, match="names of splits, and images beside them that are in no split"):
        open_dataset("sidecar:set", data_root=tmp_path)


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


def test_what_an_evaluation_reads_of_masks_changes_the_stamp(masked: Path) -> None:
    def stamped() -> str:
        return content_stamp(f"masks:{masked}", split="all", data_root=masked)

    stamps = [stamped()]
    assert stamped() == stamps[0]
    put(masked / "masks/1.png", png(np.full((4, 6), 7, np.uint8)))
    stamps.append(stamped())
    for classes in ({"40": "tree", "0": "sky", "7": "lane"}, {"41": "tree", "0": "sky", "7": "lane"}):
        put(masked / "classes.json", json.dumps(classes).encode())
        stamps.append(stamped())
    assert len(set(stamps)) == 4


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
