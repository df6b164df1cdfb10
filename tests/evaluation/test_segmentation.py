"""Segmentation from cached patch tokens: image preprocessing, windows, protocols, what is saved."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from structure.pipeline import align, evaluate, extract, load_aligner, report
from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.datasets.scenes import Scenes
from structure.pipeline.datasets.windows import Frame, WindowedImages
from structure.pipeline.encoders import load_encoder
from structure.pipeline.evaluation.mask_protocol import protocol_of
from structure.pipeline.evaluation.score_maps import upsample
from structure.pipeline.evaluation.visible_region import find_frame
from structure.pipeline.results import every_result, read_table
from structure.store import Store, open_store
from structure.store.errors import StructureError


def transform(outer: int, side: int, **more: Any) -> Callable[[Image.Image], torch.Tensor]:
    from torchvision.transforms import v2

    steps = [v2.Resize(outer, interpolation=v2.InterpolationMode.BICUBIC, **more), v2.CenterCrop(side)]
    steps += [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5, 0.4, 0.3], [0.2, 0.3, 0.25])]
    made: Callable[[Image.Image], torch.Tensor] = v2.Compose(steps)
    return made


@pytest.mark.parametrize(("outer", "side"), [(256, 224), (224, 224), (40, 32), (248, 224), (518, 518), (73, 64)])
def test_the_frame_of_a_preprocessing_is_found(outer: int, side: int) -> None:
    assert find_frame(transform(outer, side), name="x") == Frame((side, side), (outer, outer))


def test_the_frame_of_real_preprocessings(tiny_clip: str) -> None:
    frame = find_frame(load_encoder("bundled:scenes-vit").preprocess, name="scenes-vit")
    assert frame == Frame((64, 64), (64, 64))
    assert find_frame(load_encoder(f"{tiny_clip}#visual").preprocess, name="clip") == Frame((32, 32), (32, 32))


def test_a_preprocessing_that_cannot_be_undone_is_refused() -> None:
    from torchvision.transforms import v2

    blurred = v2.Compose([transform(40, 32), v2.GaussianBlur(5, sigma=2.0)])
    with pytest.raises(StructureError, match="changes it further: patches cannot be placed"):
        find_frame(blurred, name="blurred")


@pytest.mark.parametrize("mode", ["square", "sliding"])
def test_the_encoder_sees_the_windows_of_the_resized_picture(mode: Any) -> None:
    """Whatever the preprocessing crops away, every pixel of the image is in some window, unresized there."""
    scenes = Scenes("test", 3)
    prepare = transform(40, 32)
    windows = WindowedImages(scenes, find_frame(prepare, name="x"), mode)
    assert [index for picture in range(3) for index in windows.windows_of(picture)] == list(range(len(windows)))
    plan = windows.plans[1]
    resized = scenes.image(1).resize(plan.size[::-1], Image.Resampling.BICUBIC)
    scale = (np.asarray(resized).astype(np.float32) / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.3, 0.25]
    for index, (top, left) in zip(windows.windows_of(1), plan.corners, strict=True):
        expected = scale[top : top + 32, left : left + 32].transpose(2, 0, 1)
        np.testing.assert_allclose(prepare(windows.image(index)).numpy(), expected, atol=1e-5)
        assert windows.item(index).id == f"test-000001@{top},{left}"
    assert len({windows.digest(index) for index in range(len(windows))}) == len(windows)


def test_three_ways_to_count_a_background() -> None:
    classes = ("background", "cat", "dog")
    values = np.array([0, 1, 2, 255])
    assert protocol_of(classes, "class").number[values].tolist() == [0, 1, 2, 255]
    ignored = protocol_of(classes, "ignored")
    assert (ignored.names, ignored.number[values].tolist(), ignored.without) == (("cat", "dog"), [255, 0, 1, 255], ())
    left = protocol_of(classes, "left-out")
    assert (left.names, left.number[values].tolist(), left.without) == (classes, [0, 1, 2, 255], (0,))
    assert protocol_of(("sky", "tree"), "left-out").without == ()


SUITE = """
name: masks
version: 1
defaults: {{kind: segmentation, metric: miou, prompts: plain, dataset: "scenes:12", split: test}}
tasks:
  - {{background: {background}, window: {window}}}
"""


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = open_store(tmp_path_factory.mktemp("segmentation") / "store")
    extract(["bundled:scenes-vit", "bundled:scenes-text"], "scenes:120", store=store)
    align("block.03,block.03", store=store, options=TrainingOptions(dim=16, epochs=2, learning_rate=1e-2), name="a")
    align(
        "pooled,pooled", store=store, options=TrainingOptions(dim=16, epochs=2, learning_rate=1e-2), name="no-patches"
    )
    return store


@pytest.mark.parametrize(("background", "window"), [("ignored", "square"), ("left-out", "sliding")])
def test_segmentation_of_scenes(aligned: Store, tmp_path: Path, background: str, window: str) -> None:
    suite = tmp_path / "masks.yaml"
    suite.write_text(SUITE.format(background=background, window=window))
    done = evaluate(str(suite), store=aligned, aligners=["a"], data_root=tmp_path)
    values = {result.metric: result for result in done.results}
    assert set(values) == {"miou", "pixel_accuracy"}
    assert done.encoder_passes == 2  # windows and prompts
    again = evaluate(str(suite), store=aligned, aligners=["a"], data_root=tmp_path)
    assert again.encoder_passes == 0
    assert [result.value for result in again.results] == [result.value for result in done.results]
    facts = values["miou"].provenance
    assert (facts["background"], facts["window"], facts["token_layer"]) == (background, window, "block.03")
    assert facts["left_out_of_the_mean"] == (["background"] if background == "left-out" else [])
    assert values["pixel_accuracy"].chance == pytest.approx(1 / (9 if background == "left-out" else 8))
    folder = aligned.folder("results", "a")
    (table,) = [key for key in folder.keys("predictions") if key.endswith("/scenes_segmentation.parquet")]
    kept = read_table(folder, table)
    assert kept.num_rows == 12
    assert kept.column_names == [
        *("sample", "pixels", "pixel_accuracy", "miou", "iou", "correct", "intersection", "union")
    ]
    (overlays,) = [key for key in folder.keys("pictures") if key.endswith("/scenes_segmentation_overlays.png")]
    assert folder.read(overlays).startswith(b"\x89PNG")
    assert {row.metric for row in every_result(folder) if row.task == "segmentation"} == {"miou", "pixel_accuracy"}


def patches_of(encoder: Any, picture: Image.Image) -> tuple[torch.Tensor, tuple[int, int]]:
    seen: list[Any] = []
    encoder.forward([encoder.preprocess(picture)], lambda _, hidden: seen.append(hidden), wanted={"block.03"})
    return seen[0].values[0, seen[0].prefix :].float(), seen[0].grid


def test_the_numbers_are_those_of_the_encoder_itself(aligned: Store, tmp_path: Path) -> None:
    """The whole way once more without the store: encoder, head, class vectors, upsampling, counting."""
    suite = tmp_path / "masks.yaml"
    suite.write_text(SUITE.format(background="ignored", window="square"))
    done = evaluate(str(suite), store=aligned, aligners=["a"], data_root=tmp_path)
    scenes, aligner = Scenes("test", 12), load_aligner(aligned.folder("aligners", "a"))
    vision, text = load_encoder("bundled:scenes-vit"), load_encoder("bundled:scenes-text")
    task = scenes.tasks["shape"]
    vectors = []
    for name in task.classes:
        said = [text.preprocess(template.replace("{c}", name)) for template in task.templates]
        found = aligner.embed_texts(text.encode(said, layers=["block.03"])["block.03"])
        vectors.append(torch.nn.functional.normalize(torch.as_tensor(found).mean(dim=0), dim=0))
    right = counted = 0
    for index in range(12):
        tokens, grid = patches_of(vision, scenes.image(index))
        scores = torch.as_tensor(aligner.embed_images(tokens)) @ torch.stack(vectors).T
        guess = upsample(scores.T.reshape(8, *grid), (64, 64)).argmax(dim=0).numpy()
        mask = scenes.mask(index)
        right += int((guess == mask - 1)[mask > 0].sum())
        counted += int((mask > 0).sum())
    value = next(result.value for result in done.results if result.metric == "pixel_accuracy")
    assert value == pytest.approx(right / counted, abs=2e-3)  # the store keeps float16


def test_anchors_over_tokens_segment_too(tmp_path: Path) -> None:
    """PAL's scores of patches are those of the aligner itself; its texts are pooled from tokens."""
    store = open_store(tmp_path / "store")
    models = ["bundled:scenes-vit", "bundled:scenes-text"]
    extract(models, "scenes:60", store=store, layers=["block.03"], tokens=["block.03"])
    options = TrainingOptions(method="pal", epochs=2, learning_rate=1e-2)
    align("block.03,block.03", store=store, options=options, name="p")
    suite = tmp_path / "masks.yaml"
    suite.write_text(SUITE.format(background="ignored", window="square"))
    done = evaluate(str(suite), store=store, aligners=["p"], data_root=tmp_path)
    assert {result.metric: 0 <= result.value <= 1 for result in done.results} == {"miou": True, "pixel_accuracy": True}
    page = Path(report(store=store, out=tmp_path / "r.html")).read_text()
    assert page.count("Segmentation by p:") == 1


def test_what_has_no_patches_or_no_masks_is_told(aligned: Store, tmp_path: Path) -> None:
    suite = tmp_path / "masks.yaml"
    suite.write_text(SUITE.format(background="ignored", window="square"))
    with pytest.raises(StructureError, match="reads the layer pooled.*has no patches"):
        evaluate(str(suite), store=aligned, aligners=["no-patches"], data_root=tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"image": "a.png", "caption": "x"}))
    suite.write_text(
        SUITE.format(background="class", window="square")
        .replace("scenes:12", f"pairs:{tmp_path}/pairs.jsonl")
        .replace("split: test", "split: all")
    )
    with pytest.raises(StructureError, match="has no masks"):
        evaluate(str(suite), store=aligned, aligners=["a"], data_root=tmp_path)
    suite.write_text(SUITE.format(background="ignore", window="square"))
    with pytest.raises(StructureError, match="background of task 'ignore'. Did you mean ignored"):
        evaluate(str(suite), store=aligned, aligners=["a"], data_root=tmp_path)


def test_a_mask_that_cannot_be_read_is_counted(aligned: Store, tmp_path: Path) -> None:
    scenes = Scenes("test", 4)
    (tmp_path / "set" / "images").mkdir(parents=True)
    (tmp_path / "set" / "masks").mkdir()
    for index in range(4):
        scenes.image(index).save(tmp_path / "set" / "images" / f"{index}.png")
        mask = scenes.mask(index).astype(np.uint8) + (100 if index == 1 else 0)
        Image.fromarray(mask).save(tmp_path / "set" / "masks" / f"{index}.png")
    (tmp_path / "set" / "images" / "2.png").write_bytes(b"no picture")
    (tmp_path / "set" / "classes.json").write_text(json.dumps(list(scenes.mask_classes)))
    suite = tmp_path / "masks.yaml"
    content = SUITE.format(background="ignored", window="square")
    suite.write_text(content.replace("scenes:12", f"masks:{tmp_path}/set").replace("split: test", "split: all"))
    done = evaluate(str(suite), store=aligned, aligners=["a"], data_root=tmp_path)
    assert done.results[0].provenance["unreadable"] == 2
    assert done.results[0].n == 2
