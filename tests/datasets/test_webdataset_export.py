"""CLIP_benchmark's layout, written: an export reads back the same, and half an export passes for no whole one."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from structure.pipeline.datasets import Dataset, Item, Task
from structure.pipeline.datasets.benchmark_copy import read_copy
from structure.pipeline.datasets.captions_text import join_captions, split_captions
from structure.pipeline.datasets.decode_image import decode
from structure.pipeline.datasets.scenes import Scenes
from structure.pipeline.datasets.tar_index import index_tar
from structure.pipeline.datasets.webdataset_export import export_webdataset
from structure.store.errors import BadSampleError, StructureError

Draw = Callable[..., bytes]


def read(folder: Path, **options: str) -> Dataset:
    return read_copy(folder, name=folder.name, **options)


class Given(Dataset):
    """Images and texts as a test gives them."""

    name, split = "given", "test"

    def __init__(self, kind: str, images: list[bytes], items: list[Item], task: Task | None = None) -> None:
        self.kind, self.images, self.items = kind, images, items
        self.tasks = {"label": task} if task else {}

    def __len__(self) -> int:
        return len(self.items)

    def item(self, index: int) -> Item:
        return self.items[index]

    def payload(self, index: int) -> bytes:
        return self.images[index]

    def image(self, index: int) -> Image.Image:
        return decode(self.images[index], item=self.items[index].id)


def same_images(one: Dataset, other: Dataset) -> bool:
    return all(np.array_equal(np.asarray(one.image(i)), np.asarray(other.image(i))) for i in range(len(one)))


def image(number: int) -> bytes:
    buffer = io.BytesIO()
    form, mode = (("PNG", "RGB"), ("JPEG", "L"), ("PNG", "RGBA"), ("BMP", "RGB"))[number % 4]
    Image.new(mode, (3, 2), (number * 40, 9, 7, 120) if mode == "RGBA" else number * 40).save(buffer, format=form)
    return buffer.getvalue()


IMAGES = [image(number) for number in range(5)]
line = st.text(st.characters(codec="utf-8", exclude_characters="\r"), min_size=1, max_size=20).filter(
    lambda text: text.strip()
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(line, min_size=1, max_size=4), min_size=1, max_size=7), st.integers(1, 4))
def test_captions_survive_export_and_reading(captions: list[list[str]], shard_items: int) -> None:
    items = [Item(str(i), tuple(text.strip() for text in texts)) for i, texts in enumerate(captions)]
    original = Given("retrieval", [IMAGES[i % len(IMAGES)] for i in range(len(items))], items)
    with tempfile.TemporaryDirectory() as folder:
        export = export_webdataset(original, Path(folder, "wds_given"), shard_items=shard_items)
        copy = read(export.folder)
        assert [copy.item(i).captions for i in range(len(copy))] == [item.captions for item in items]
        assert (export.items, export.shards, copy.kind) == (len(items), -(-len(items) // shard_items), "retrieval")
        assert same_images(original, copy)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(st.sampled_from("n\\\nab "), min_size=1, max_size=8), min_size=1, max_size=3))
def test_newlines_and_backslashes_are_told_apart(captions: list[str]) -> None:
    stripped = tuple(caption.strip() or "x" for caption in captions)
    assert split_captions(join_captions(stripped)) == stripped


def test_captions_are_written_as_clip_benchmark_writes_them() -> None:
    assert join_captions(["a\nb", "¯\\_(ツ)_/¯ no", "c"]) == "a\\nb\n¯\\_(ツ)_/¯ no\nc"


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sets(st.integers(0, 3)), min_size=1, max_size=6), st.booleans())
def test_labels_survive_export_and_reading(labels: list[set[int]], several: bool) -> None:
    given_labels = [tuple(sorted(one)) if several else max(one, default=0) for one in labels]
    items = [Item(str(i), (), {"label": label}) for i, label in enumerate(given_labels)]
    task = Task(("ant", "bee", "кот", "dog house"), ("a {c}.",))
    original = Given("multilabel" if several else "classification", [IMAGES[0]] * len(items), items, task)
    with tempfile.TemporaryDirectory() as folder:
        copy = read(export_webdataset(original, Path(folder, "wds_given"), split="val").folder, split="val")
        assert [copy.item(i).labels["label"] for i in range(len(copy))] == given_labels
        assert copy.tasks["label"].classes == task.classes
        assert copy.tasks["label"].templates == task.templates
        assert copy.kind == original.kind


def test_plain_images_keep_their_bytes_and_others_become_png(tmp_path: Path, draw: Draw) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    images = [
        draw(1, form="JPEG"),
        draw(2, mode="RGBA"),
        draw(3, form="JPEG", exif=turned),
        draw(4, form="GIF"),
        draw(5, mode="L"),
    ]
    items = [Item(str(i), (), {"label": 0}) for i in range(len(images))]
    original = Given("classification", images, items, Task(("thing",)))
    export = export_webdataset(original, tmp_path / "wds_given")
    copy = read(export.folder)
    assert same_images(original, copy)
    assert [copy.payload(i) == images[i] for i in range(5)] == [True, False, False, False, True]
    assert [next(iter(group.members)) for group in index_tar(export.folder / "test/0.tar")] == [
        "jpg",
        "png",
        "png",
        "png",
        "png",
    ]


def test_scenes_export_as_captions_and_as_any_of_their_tasks(tmp_path: Path) -> None:
    scenes = Scenes("test", 12)
    captions = read(export_webdataset(scenes, tmp_path / "wds_scenes").folder)
    assert captions.item(3).captions == scenes.item(3).captions
    assert same_images(scenes, captions)
    export = export_webdataset(scenes, tmp_path / "wds_scenes-shape", task="shape")
    labelled = [i for i in range(12) if "shape" in scenes.item(i).labels]
    assert (export.items, export.unlabelled) == (len(labelled), 12 - len(labelled))
    shapes = read(export.folder)
    assert [shapes.item(i).labels["label"] for i in range(len(shapes))] == [
        scenes.item(i).labels["shape"] for i in labelled
    ]
    with pytest.raises(StructureError, match="Did you mean colour"):
        export_webdataset(scenes, tmp_path / "x", task="color")


def test_an_export_is_the_same_bytes_again_and_never_mixes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        export_webdataset(Scenes("val", 5), tmp_path / name, shard_items=2)
    for file in ("test/0.tar", "test/2.tar", "test/nshards.txt", "dataset_type.txt"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    with pytest.raises(StructureError, match="has tars already"):
        export_webdataset(Scenes("val", 5), tmp_path / "one")


def test_an_export_that_stops_cannot_pass_for_a_whole_one(tmp_path: Path, draw: Draw) -> None:
    items = [Item(str(i), (), {"label": 0}) for i in range(3)]
    broken = Given("classification", [draw(0), draw(1), b"no image"], items, Task(("thing",)))
    with pytest.raises(BadSampleError, match="not an image"):
        export_webdataset(broken, tmp_path / "wds_given", shard_items=1)
    assert sorted(path.name for path in (tmp_path / "wds_given/test").iterdir()) == ["0.tar", "1.tar"]
    with pytest.raises(StructureError, match="nshards.txt is missing"):
        read(tmp_path / "wds_given")
