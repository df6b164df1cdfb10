"""What every dataset promises, for every kind: small ones made here, and real images where they are at hand."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from structure.pipeline.datasets import Dataset, Item, Task, open_dataset


class Contract:
    """A class that inherits this gives `dataset`; `whole` is False where some samples are bad on purpose."""

    @pytest.fixture
    def dataset(self) -> Dataset:
        raise NotImplementedError

    def test_ids_are_unique_stable_text(self, dataset: Dataset) -> None:
        ids = [dataset.item(index).id for index in range(len(dataset))]
        assert len(ids) == len(set(ids)) > 0
        assert all(item and isinstance(item, str) and item.encode() for item in ids)
        assert ids == [dataset.item(index).id for index in range(len(dataset))]

    def test_items_hold_what_their_kind_says(self, dataset: Dataset) -> None:
        assert dataset.kind in ("classification", "multilabel", "retrieval", "segmentation", "images")
        assert all(isinstance(task, Task) and isinstance(name, str) for name, task in dataset.tasks.items())
        for index in range(len(dataset)):
            item = dataset.item(index)
            assert isinstance(item, Item)
            assert isinstance(item.captions, tuple)
            assert all(isinstance(caption, str) and caption == caption.strip() != "" for caption in item.captions)
            assert bool(item.captions) or dataset.kind != "retrieval"
            for task, label in item.labels.items():
                labels = label if isinstance(label, tuple) else (label,)
                assert all(type(one) is int and 0 <= one < len(dataset.tasks[task].classes) for one in labels)

    def test_images_are_rgb_and_read_in_any_order(self, dataset: Dataset) -> None:
        last = len(dataset) - 1
        before = np.asarray(dataset.image(0))
        assert dataset.image(last).mode == dataset.image(0).mode == "RGB"
        assert np.array_equal(np.asarray(dataset.image(0)), before)

    def test_digest_and_stamp_are_stable(self, dataset: Dataset) -> None:
        assert dataset.digest(0) == dataset.digest(0)
        assert len(dataset.digest(0)) == 64
        assert dataset.stamp(0) == dataset.stamp(0)

    def test_a_worker_gets_an_equal_copy(self, dataset: Dataset) -> None:
        copy = pickle.loads(pickle.dumps(dataset))
        last = len(dataset) - 1
        assert (len(copy), copy.name, copy.split, copy.kind) == (
            len(dataset),
            dataset.name,
            dataset.split,
            dataset.kind,
        )
        assert (copy.item(last), copy.digest(last), copy.stamp(last)) == (
            dataset.item(last),
            dataset.digest(last),
            dataset.stamp(last),
        )
        assert np.array_equal(np.asarray(copy.image(last)), np.asarray(dataset.image(last)))

    def test_indices_outside_are_refused(self, dataset: Dataset) -> None:
        for index in (-1, len(dataset)):
            for read in (dataset.item, dataset.image, dataset.payload):
                with pytest.raises(IndexError):
                    read(index)

    def test_masks_have_the_size_of_the_image(self, dataset: Dataset) -> None:
        if not dataset.mask_classes:
            with pytest.raises(TypeError, match="has no masks"):
                dataset.mask(0)
            return
        for index in (0, len(dataset) - 1):
            mask, image = dataset.mask(index), dataset.image(index)
            assert mask.shape == (image.height, image.width)
            assert mask.dtype == np.int32
            assert {*np.unique(mask).tolist()} <= {255, *range(len(dataset.mask_classes))}

    def test_names_are_safe_folders(self, dataset: Dataset) -> None:
        for name in (dataset.name, dataset.split):
            assert name.isascii()
            assert name.replace("-", "").replace("_", "").replace(".", "").isalnum()


class TestPairs(Contract):
    @pytest.fixture
    def dataset(self, pairs_file: Callable[..., Path]) -> Dataset:
        rows = [
            {"image": f"{i}.png", "captions": [f"number {i}", "a gradient"], "label": f"c{i % 2}"} for i in range(4)
        ]
        return open_dataset(f"pairs:{pairs_file(rows)}", data_root=".")


class TestFolder(Contract):
    @pytest.fixture
    def dataset(self, tmp_path: Path, draw: Callable[..., bytes]) -> Dataset:
        for number in range(4):
            file = tmp_path / "set" / f"class {number % 2}" / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(draw(number))
        return open_dataset(f"folder:{tmp_path / 'set'}", data_root=".")


class TestImages(Contract):
    @pytest.fixture
    def dataset(self, tmp_path: Path, draw: Callable[..., bytes]) -> Dataset:
        for number in range(4):
            file = tmp_path / "album" / ("inner" if number % 2 else ".") / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(draw(number))
        (tmp_path / "album" / ".hidden.png").write_bytes(draw(5))
        (tmp_path / "album" / "readme.md").write_text("album")
        return open_dataset(f"images:{tmp_path / 'album'}", data_root=".")

    def test_every_image_below_the_folder_is_a_sample(self, dataset: Dataset) -> None:
        ids = [dataset.item(index).id for index in range(len(dataset))]
        assert ids == ["0.png", "2.png", "inner/1.png", "inner/3.png"]
        assert len(dataset.notes) == 1
        assert dataset.name.startswith("album-")


class TestMasks(Contract):
    @pytest.fixture
    def dataset(self, tmp_path: Path, draw: Callable[..., bytes]) -> Dataset:
        for part in ("images", "masks"):
            (tmp_path / part).mkdir()
            for number in range(3):
                (tmp_path / part / f"{number}.png").write_bytes(draw(number, mode="L" if part == "masks" else "RGB"))
        (tmp_path / "classes.json").write_text(json.dumps({str(value): f"c{value}" for value in range(254)}))
        return open_dataset(f"masks:{tmp_path}", data_root=".")


class TestCopy(Contract):
    @pytest.fixture
    def dataset(self, copy_folder: Path) -> Dataset:
        return open_dataset("clip-benchmark:vtab/tiny", data_root=copy_folder.parent)


class TestShards(Contract):
    @pytest.fixture
    def dataset(self, tmp_path: Path, draw: Callable[..., bytes], write_tar: Callable[..., None]) -> Dataset:
        write_tar(tmp_path / "shards/0.tar", {"a.png": draw(1), "a.txt": b"one", "b.png": draw(2), "b.txt": b"two"})
        return open_dataset(f"wds:{tmp_path}/shards/{{0..0}}.tar", data_root=".")


class TestCoco(Contract):
    @pytest.fixture
    def dataset(self, tmp_path: Path, draw: Callable[..., bytes]) -> Dataset:
        for folder in ("val2017", "annotations"):
            (tmp_path / "coco" / folder).mkdir(parents=True)
        images = [{"id": number, "file_name": f"{number}.jpg"} for number in range(3)]
        for number in range(3):
            (tmp_path / "coco/val2017" / f"{number}.jpg").write_bytes(draw(number, form="JPEG"))
        captions = [{"image_id": number % 3, "caption": f"text {number}"} for number in range(6)]
        content = json.dumps({"images": images, "annotations": captions})
        (tmp_path / "coco/annotations/captions_val2017.json").write_text(content)
        return open_dataset("coco", split="val", data_root=tmp_path)


class TestScenesByName(Contract):
    @pytest.fixture
    def dataset(self) -> Dataset:
        return open_dataset("scenes:6", split="test", data_root=".")


class TestIcons(Contract):
    @pytest.fixture
    def dataset(self, tmp_path: Path) -> Dataset:
        return open_dataset("icons:6", split="val", data_root=tmp_path)


class TestRealPairs(Contract):
    @pytest.fixture(params=[("emojitwo64", 1245, 1), ("coco_val2017_captions", 93, 5)], ids=["emoji", "coco"])
    def dataset(self, request: pytest.FixtureRequest, real_data: Path) -> Dataset:
        folder, count, captions = request.param
        dataset = open_dataset(f"pairs:{real_data}/{folder}/pairs.jsonl", data_root=".")
        assert (len(dataset), dataset.name, dataset.split) == (count, folder, "all")
        assert {len(dataset.item(index).captions) for index in range(count)} == {captions}
        return dataset


class TestRealMasks(Contract):
    @pytest.fixture
    def dataset(self, real_data: Path) -> Dataset:
        dataset = open_dataset(f"masks:{real_data}/coco_val2017_seg", data_root=".")
        assert (len(dataset), len(dataset.mask_classes), dataset.mask_classes[0]) == (27, 130, "unlabeled")
        return dataset


class TestRealFolder(Contract):
    @pytest.fixture
    def dataset(self, real_data: Path) -> Dataset:
        dataset = open_dataset("folder:flowers5", data_root=real_data)
        assert dataset.tasks["label"].classes == ("daisy", "dandelion", "roses", "sunflowers", "tulips")
        assert [sum(dataset.item(i).labels["label"] == c for i in range(250)) for c in range(5)] == [50] * 5
        return dataset
