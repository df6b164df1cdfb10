"""From patch scores to label maps: the golden map, oracles for upsampling and windows, what guessing gives."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from structure.pipeline.datasets.windows import Windows, plan_windows
from structure.pipeline.evaluation import score_maps
from structure.pipeline.evaluation.overlay import Overlay, draw_overlays, palette
from structure.pipeline.evaluation.score_maps import label_map, upsample, whole_label_maps
from structure.pipeline.metrics.confusion_areas import Areas, segmentation_areas
from structure.pipeline.metrics.score_segmentation import majority, score_segmentation
from structure.store.errors import StructureError

WHOLE = Windows((16, 16), (16, 16), ((0, 0),))


def bilinear(scores: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Half-pixel centres, edges clamped, one pixel at a time."""
    out = np.zeros((len(scores), *size))
    for y in range(size[0]):
        for x in range(size[1]):
            places = []
            for at, length, new in ((y, scores.shape[1], size[0]), (x, scores.shape[2], size[1])):
                place = min(max((at + 0.5) * length / new - 0.5, 0), length - 1)
                low = int(place)
                places.append((low, min(low + 1, length - 1), place - low))
            (y0, y1, v), (x0, x1, u) = places
            top = scores[:, y0, x0] * (1 - u) + scores[:, y0, x1] * u
            out[:, y, x] = top * (1 - v) + (scores[:, y1, x0] * (1 - u) + scores[:, y1, x1] * u) * v
    return out


def test_golden_labels(golden: Path) -> None:
    pal = np.load(golden / "pal.npz")
    size = (int(pal["seg_size"][0]), int(pal["seg_size"][1]))
    found = label_map([pal["seg_scores"]], WHOLE, grid=(4, 4), size=size)
    np.testing.assert_array_equal(found, pal["seg_labels"])


def test_upsampling_is_bilinear_with_half_pixel_centres() -> None:
    scores = np.random.default_rng(0).standard_normal((3, 4, 5))
    for size in ((11, 7), (4, 5), (3, 2), (9, 10)):
        np.testing.assert_allclose(upsample(torch.from_numpy(scores), size).numpy(), bilinear(scores, size), atol=1e-12)


def test_pictures_together_get_the_labels_that_each_gets_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(2).standard_normal((5, 16, 7)).astype(np.float32)
    alone = np.stack([label_map([own], WHOLE, grid=(4, 4), size=(19, 21)) for own in scores])
    np.testing.assert_array_equal(whole_label_maps(scores, grid=(4, 4), size=(19, 21)), alone)
    monkeypatch.setattr(score_maps, "PIXELS_AT_ONCE", 1)
    np.testing.assert_array_equal(whole_label_maps(scores, grid=(4, 4), size=(19, 21)), alone)
    assert not whole_label_maps(np.zeros((2, 16, 7)), grid=(4, 4), size=(5, 5)).any()  # ties go to the lower class


def test_the_number_of_classes_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    scores = [random.standard_normal((16, 7)) for _ in range(4)]
    plan = Windows((24, 24), (16, 16), ((0, 0), (0, 8), (8, 0), (8, 8)))
    whole = label_map(scores, plan, grid=(4, 4), size=(19, 21))
    monkeypatch.setattr(score_maps, "PIXELS_AT_ONCE", 1)
    np.testing.assert_array_equal(label_map(scores, plan, grid=(4, 4), size=(19, 21)), whole)
    equal = label_map([np.zeros((16, 7))], WHOLE, grid=(4, 4), size=(5, 5))
    assert not equal.any()  # the lower class of equal ones, whichever block it is in


def test_windows_are_averaged_where_they_overlap() -> None:
    """A score that is a function of the place alone comes out as that function, whichever windows saw it."""
    side, plan = 8, plan_windows((8, 14), side=(8, 8), mode="sliding")
    ramp = np.linspace(-1, 1, plan.size[1])
    scores = []
    for _, left in plan.corners:
        column = ramp[left : left + side]
        scores.append(np.stack([np.tile(column, side), np.zeros(side * side)], axis=1))
    found = label_map(scores, plan, grid=(side, side), size=plan.size)
    np.testing.assert_array_equal(found, np.tile(np.where(ramp > 0, 0, 1), (plan.size[0], 1)))


@given(st.tuples(st.integers(1, 300), st.integers(1, 300)), st.tuples(st.integers(2, 60), st.integers(2, 60)))
def test_windows_cover_every_pixel(size: tuple[int, int], side: tuple[int, int]) -> None:
    plan = plan_windows(size, side=side, mode="sliding")
    seen = np.zeros(plan.size, bool)
    for top, left in plan.corners:
        assert 0 <= top <= plan.size[0] - side[0]
        assert 0 <= left <= plan.size[1] - side[1]
        seen[top : top + side[0], left : left + side[1]] = True
    assert seen.all()
    assert len(set(plan.corners)) == len(plan.corners)
    assert all(plan.size[axis] >= 2 * side[axis] - 1 for axis in (0, 1))
    assert plan_windows(size, side=side, mode="square").corners == ((0, 0),)


def test_miou_equals_torchmetrics() -> None:
    from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

    random = np.random.default_rng(2)
    truth = random.integers(0, 6, (5, 20, 24))
    truth[truth == 4] = 2  # a class that never occurs but is predicted
    guess = np.where(random.random(truth.shape) < 0.5, truth, random.integers(0, 6, truth.shape))
    truth[random.random(truth.shape) < 0.1] = 255
    judged = score_segmentation(
        segmentation_areas(guess, truth, classes=6), ids=list("abcde"), classes=[f"c{n}" for n in range(6)]
    )
    index = MulticlassJaccardIndex(6, ignore_index=255, average="none")
    expected = index(torch.from_numpy(guess), torch.from_numpy(truth)).numpy()
    np.testing.assert_allclose(list(judged.notes["iou"].values()), expected, atol=1e-6)
    assert judged.metrics()["miou"] == pytest.approx(expected.mean(), abs=1e-6)
    accuracy = MulticlassAccuracy(6, ignore_index=255, average="micro")
    right = float(accuracy(torch.from_numpy(guess), torch.from_numpy(truth)))
    assert judged.metrics()["pixel_accuracy"] == pytest.approx(right, abs=1e-6)
    assert judged.intervals["miou"].low < judged.intervals["miou"].value < judged.intervals["miou"].high
    assert judged.samples["miou"].to_pylist()[0] == pytest.approx(
        score_segmentation(
            segmentation_areas(guess[:1], truth[:1], classes=6), ids=["a"], classes=[f"c{n}" for n in range(6)]
        ).metrics()["miou"]
    )


def test_chance_is_what_guessing_gives() -> None:
    random = np.random.default_rng(3)
    share = np.array([0.6, 0.3, 0.1, 0.0])
    truth = random.choice(4, size=(4, 400, 500), p=share)
    areas = segmentation_areas(random.integers(0, 4, truth.shape), truth, classes=4)
    for without in ((), (0,)):
        scores = score_segmentation(areas, ids=list("abcd"), classes="abcd", without=without)
        assert float(areas.miou(without=without)) == pytest.approx(scores.chance["miou"], abs=2e-3)
        assert areas.pixel_accuracy() == pytest.approx(scores.chance["pixel_accuracy"], abs=2e-3)
        constant = segmentation_areas(np.zeros_like(truth), truth, classes=4)
        told = majority(areas.true.sum(axis=0) / areas.true.sum(), "abcd", without=without)
        assert told["class"] == "a"
        assert float(constant.miou(without=without)) == pytest.approx(told["miou"], abs=1e-12)
        assert constant.pixel_accuracy() == pytest.approx(told["pixel_accuracy"])


def test_nothing_to_judge() -> None:
    with pytest.raises(StructureError, match="No pixel of the masks counts"):
        score_segmentation(Areas(*(np.zeros((2, 3), np.int64) for _ in range(3))), ids=["a", "b"], classes=["x"] * 3)


def test_overlays_are_drawn_whatever_the_names_say() -> None:
    random = np.random.default_rng(4)
    names = ["a $x^$ b", "<b>sky</b>", "猫 \x00\x1b\ud800\ufffe", *(f"class {n}" for n in range(29))]
    labels = random.integers(0, 32, (2, 12, 17))
    labels[0, :3] = 255
    shown = Overlay("$\\frac$.png", random.integers(0, 256, (12, 17, 3), dtype=np.uint8), labels[0], labels[1] % 32)
    data = draw_overlays([shown, shown], names)
    assert data.startswith(b"\x89PNG")


def test_an_overlay_shows_the_image_and_the_colours_of_its_classes() -> None:
    """Three panels side by side: the image as it is, truth and prediction in the colours that the legend names."""
    black = np.zeros((40, 40, 3), np.uint8)
    truth, prediction = np.zeros((40, 40), int), np.ones((40, 40), int)
    truth[20:] = 255
    drawn = np.asarray(Image.open(io.BytesIO(draw_overlays([Overlay("a", black, truth, prediction)], ["x", "y"]))))
    colours, width = palette(2), drawn.shape[1]
    upper, lower = (drawn[row][[width // 6, width // 2, width * 5 // 6], :3].tolist() for row in (200, 500))
    assert upper == [[0, 0, 0], *((colours * 0.6).round().astype(int).tolist())]
    assert lower == [[0, 0, 0]] * 3, "what is ignored stays as it is"
    swatches = {tuple(pixel) for pixel in drawn[-40:, :, :3].reshape(-1, 3).tolist()}
    assert {tuple(colour) for colour in colours.tolist()} <= swatches


def test_colours_of_many_classes_differ() -> None:
    assert len({tuple(colour) for colour in palette(150).tolist()}) == 150
