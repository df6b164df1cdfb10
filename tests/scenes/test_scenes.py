"""Scenes are pure functions of their key, keep compositions apart between splits, and say only what is well posed."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structure.pipeline.datasets.scene_layout import COLOURS, SHAPES, Scene, Split, composes, relates
from structure.pipeline.datasets.scenes import Scenes
from structure.store.errors import StructureError

PAIRED: tuple[Split, ...] = ("train", "val", "test")
MANY = 600


@pytest.fixture(scope="module")
def scenes() -> dict[str, list[Scene]]:
    return {split: [Scenes(split, MANY).scene(index) for index in range(MANY)] for split in PAIRED}


def pixels(dataset: Scenes, index: int) -> np.ndarray:
    return np.asarray(dataset.image(index))


def test_pictures_captions_and_masks_are_the_recorded_ones() -> None:
    """Fails when anything drawn or said changes: then raise RENDERER, and record anew."""
    digest = hashlib.sha256()
    for split in (*PAIRED, "pretrain"):
        dataset = Scenes(split, 50)
        for index in range(50):
            digest.update(pixels(dataset, index).tobytes())
            digest.update(dataset.mask(index).astype("<i4").tobytes())
            digest.update(repr(dataset.item(index)).encode())
    assert digest.hexdigest() == "761cfa62c4ddf53d407d246d9e98fd8ab3f1bb76e8cccdd665e4750ffa930848"


@settings(max_examples=40, deadline=None)
@given(split=st.sampled_from(PAIRED), index=st.integers(0, 50), seed=st.integers(0, 2**40), extra=st.integers(1, 99))
def test_a_scene_depends_on_seed_split_and_index_alone(split: str, index: int, seed: int, extra: int) -> None:
    one, other = Scenes(split, 51, seed), pickle.loads(pickle.dumps(Scenes(split, 51 + extra, seed)))
    other.image(extra % 51)  # what was read before plays no part
    assert one.item(index) == other.item(index)
    assert one.digest(index) == other.digest(index)
    assert (pixels(one, index) == pixels(other, index)).all()
    assert (one.mask(index) == other.mask(index)).all()


def test_digests_differ_wherever_pictures_do() -> None:
    sets = [Scenes(split, 20, seed) for split in PAIRED for seed in (0, 1)]
    digests = {dataset.digest(index) for dataset in sets for index in range(20)}
    pictures = {dataset.image(index).tobytes() for dataset in sets for index in range(20)}
    assert len(digests) == len(pictures) == 120


def test_pictures_are_rgb_of_64_pixels_and_ids_are_unique() -> None:
    dataset = Scenes("val")
    assert {(dataset.image(index).mode, dataset.image(index).size) for index in range(20)} == {("RGB", (64, 64))}
    assert len({dataset.item(index).id for index in range(len(dataset))}) == len(dataset) == 500


def test_default_lengths_and_names() -> None:
    assert [len(Scenes(split)) for split in PAIRED] == [4000, 500, 1000]
    assert len(Scenes(count=7)) == 7
    assert Scenes().name == "scenes"
    assert Scenes(seed=3).name != "scenes"


def test_no_pair_of_shape_and_colour_of_the_test_is_in_training(scenes: dict[str, list[Scene]]) -> None:
    seen = {
        split: {(thing.shape, thing.colour) for scene in drawn for thing in scene.things}
        for split, drawn in scenes.items()
    }
    assert not seen["test"] & seen["train"]
    assert seen["val"] == seen["train"]
    for pairs in seen.values():
        assert {shape for shape, _ in pairs} == set(SHAPES)
        assert {colour for _, colour in pairs} == set(COLOURS)
    assert {split: len(pairs) for split, pairs in seen.items()} == {"train": 48, "val": 48, "test": 16}


def test_no_pair_of_shapes_that_relates_in_the_test_relates_in_training(scenes: dict[str, list[Scene]]) -> None:
    related = {
        split: {frozenset(thing.shape for thing in scene.things) for scene in drawn if len(scene.things) == 2}
        for split, drawn in scenes.items()
    }
    assert not related["test"] & (related["train"] | related["val"])
    assert {split: len(pairs) for split, pairs in related.items()} == {"train": 24, "val": 24, "test": 12}


def test_the_holdout_is_stated_for_every_composition() -> None:
    """By brute force over the tables, not over scenes that happened to be drawn."""
    for shape in SHAPES:
        assert not [
            colour for colour in COLOURS if composes("train", shape, colour) and composes("test", shape, colour)
        ]
        assert not [other for other in SHAPES if relates("train", shape, other) and relates("test", shape, other)]


def test_things_stay_inside_and_apart(scenes: dict[str, list[Scene]]) -> None:
    for scene in scenes["train"]:
        for thing in scene.things:
            assert thing.radius < min(thing.x, thing.y) + 1
            assert max(thing.x, thing.y) + thing.radius < 64
        for one, other in combinations(scene.things, 2):
            assert max(abs(one.x - other.x), abs(one.y - other.y)) > one.radius + other.radius
            assert (one.shape, one.colour) != (other.shape, other.colour)


def test_labels_are_in_range_and_follow_the_scene() -> None:
    dataset = Scenes("test", MANY)
    for index in range(MANY):
        scene, labels = dataset.scene(index), dataset.item(index).labels
        for task, label in labels.items():
            assert isinstance(label, int)
            assert 0 <= label < len(dataset.tasks[task].classes)
        assert labels["count"] == len(scene.things) - 1
        sizes = sorted(((thing.radius, thing) for thing in scene.things), key=lambda pair: pair[0])
        if len(sizes) == 1 or sizes[-1][1].size != sizes[-2][1].size:
            assert dataset.tasks["shape"].classes[labels["shape"]] == sizes[-1][1].shape  # type: ignore[index]
            assert dataset.tasks["colour"].classes[labels["colour"]] == sizes[-1][1].colour  # type: ignore[index]
        else:
            assert not labels.keys() & {"shape", "colour", "relation"}
        if "relation" in labels:
            (_, small), (_, large) = sizes
            where = (large.x - small.x, large.y - small.y)
            expected = {0: where[0] < 0, 1: where[0] > 0, 2: where[1] < 0, 3: where[1] > 0}
            assert expected[labels["relation"]]  # type: ignore[index]
            assert max(map(abs, where)) >= 2 * min(map(abs, where))


def test_every_class_of_every_task_is_common() -> None:
    dataset = Scenes("test", MANY)
    counts: Counter[tuple[str, int]] = Counter()
    for index in range(MANY):
        counts.update(dataset.item(index).labels.items())  # type: ignore[arg-type]
    for task, found in dataset.tasks.items():
        assert min(counts[task, label] for label in range(len(found.classes))) >= 20
        assert all("{c}" in template for template in found.templates)


def test_no_template_is_a_caption() -> None:
    captions = {caption for split in PAIRED for i in range(MANY) for caption in Scenes(split, MANY).item(i).captions}
    filled = {
        template.replace("{c}", name)
        for task in Scenes.tasks.values()
        for template in task.templates
        for name in task.classes
    }
    assert not filled & captions


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("trian",), "Did you mean train"), (("train", 0), "scenes:0 asks for 0"), (("test", -4), "scenes:-4")],
)
def test_bad_arguments_are_answered(arguments: tuple, words: str) -> None:
    with pytest.raises(StructureError, match=words):
        Scenes(*arguments)


def test_an_index_outside_is_refused() -> None:
    for index in (-1, 5):
        with pytest.raises(IndexError):
            Scenes("train", 5).image(index)


def test_scenes_are_read_without_torch() -> None:
    code = "import sys, structure.pipeline.datasets.scenes as s; s.Scenes().image(0); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
