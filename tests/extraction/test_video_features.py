"""Videos through an encoder of images: as many images as frames, averaged, or kept one by one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from structure.pipeline import align, extract
from structure.pipeline.datasets.decode_video import decode_frames
from structure.pipeline.encoders.frames_option import MOST_FRAMES
from structure.pipeline.encoders.loading import load_encoder
from structure.pipeline.run_context import RunContext
from structure.pipeline.stages.search import SearchRequest
from structure.pipeline.stages.search import run as search
from structure.store import FeatureSet, Store, open_store
from structure.store.errors import BadSampleError, NotPresentError, StructureError, UsageError
from tests.videos import video

VISION, TEXT = "bundled:scenes-vit", "bundled:scenes-text"
K, COUNT, BROKEN = 4, 12, 5


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of growing length, one of them broken, and a folder with the frames of each as PNG."""
    folder = tmp_path_factory.mktemp("clips")
    rows = []
    for number in range(COUNT):
        data = video(4 + number, size=(64 + 2 * number, 48)) if number != BROKEN else b"broken"
        (folder / f"{number}.mp4").write_bytes(data)
        rows.append({"video": f"{number}.mp4", "caption": f"a clip of {4 + number} frames"})
        for place, frame in enumerate(decode_frames(data, K, item="a") if number != BROKEN else ()):
            (folder / "stills").mkdir(exist_ok=True)
            frame.save(folder / f"stills/{number:02d}-{place}.png")
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def store(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = open_store(tmp_path_factory.mktemp("store") / "store")
    spec = f"pairs:{clips / 'pairs.jsonl'}"
    extract([VISION, TEXT], spec, store=made, split="all", frames=K, tokens=["block.0*"], dtype="fp32")
    return made


def films_of(store: Store) -> FeatureSet:
    return next(each for each in store.feature_sets() if each.manifest.encoder == f"scenes-vit-{K}-frames")


def test_features_are_those_of_the_frames_written_as_png(store: Store, clips: Path) -> None:
    extract(VISION, f"images:{clips / 'stills'}", store=store, dtype="fp32", batch_size=K)
    films = films_of(store)
    images = next(each for each in store.feature_sets() if each.manifest.dataset.startswith("stills"))
    assert films.manifest.identity["encoder"]["frames"]["count"] == K
    assert (list(films.skipped), len(images)) == ([BROKEN], K * (COUNT - 1))
    kept = [row for row in range(COUNT) if row != BROKEN]
    for layer in films.layers:
        each = images.rows(layer).reshape(COUNT - 1, K, -1)
        np.testing.assert_allclose(films.rows(layer)[kept], each.mean(axis=1), atol=2e-6)
    tokens = films.tokens("block.00")
    assert tokens.lengths.tolist() == [0 if row == BROKEN else K for row in range(COUNT)]
    each = images.rows("block.00").reshape(COUNT - 1, K, -1)
    for row, frames in zip(kept, each, strict=True):
        np.testing.assert_allclose(tokens.row(row), frames, atol=2e-6)


def test_the_pixels_that_a_model_sees_are_those_of_the_png(clips: Path) -> None:
    encoder = load_encoder(f"{VISION}?frames={K}")
    seen = encoder.preprocess(decode_frames((clips / "7.mp4").read_bytes(), K, item="a"))
    stills = sorted((clips / "stills").glob("07-*.png"))
    for frame, still in zip(seen, stills, strict=True):
        assert torch.equal(frame, encoder.encoder.preprocess(Image.open(still)))


def test_a_search_shows_the_video_file_and_takes_a_video_as_query(store: Store, clips: Path) -> None:
    align("final_norm,pooled", store=store, method="ridge", vision=f"scenes-vit-{K}-frames", name="films")
    found = search(SearchRequest(image=[clips / "7.mp4"], aligner="films", k=1), RunContext.of(store, data_root=clips))
    (hit,) = found.queries[0].hits
    assert (hit.path, hit.file, hit.caption) == (str(clips / "7.mp4"), "", "a clip of 11 frames")
    assert hit.score == pytest.approx(1, abs=1e-3)


def test_without_frames_the_middle_one_is_read_and_this_is_told(clips: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    spec = f"pairs:{clips / 'pairs.jsonl'}"
    store = open_store(tmp_path / "store")
    extract(
        VISION,
        spec,
        store=store,
        split="all",
        limit=3,
        dtype="fp32",
        on_event=lambda e: notes.append(getattr(e, "text", "")),
    )
    assert any("12 of 12 files are videos; the middle frame of each is read. --frames 8" in note for note in notes)
    encoder = load_encoder(VISION)
    middle = next(decode_frames((clips / "2.mp4").read_bytes(), 1, item="a"))
    (features,) = store.feature_sets()
    expected = encoder.encode([encoder.preprocess(middle)], layers=["final_norm"])["final_norm"]
    np.testing.assert_allclose(features.rows("final_norm")[2:], expected.numpy(), atol=2e-6)


@pytest.mark.parametrize(
    ("models", "options", "told"),
    [
        ([VISION], {"frames": K, "views": 2}, "Leave one of the two out"),
        ([VISION], {"frames": MOST_FRAMES + 1}, f"more than {MOST_FRAMES}"),
        ([f"{VISION}?frames=x"], {}, "whole number from 1"),
        ([f"{VISION}?frames=4"], {"frames": 8}, "say two things"),
        ([f"{VISION}?frames=4"], {"views": 2}, "views are of images"),
        ([f"{TEXT}?frames=4"], {}, "reads texts"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    models: list[str], options: dict[str, int], told: str, clips: Path, tmp_path: Path
) -> None:
    with pytest.raises(StructureError, match=told):
        extract(models, f"pairs:{clips / 'pairs.jsonl'}", store=tmp_path / "store", **options)


def test_images_have_no_frames(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(UsageError, match="has none among its 1 files"):
        extract(VISION, f"images:{tmp_path}", store=tmp_path / "store", frames=K)


def test_without_the_decoder_the_message_says_what_to_install(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(BadSampleError, match=r"structure-align\[video\]"):
        list(decode_frames((clips / "7.mp4").read_bytes(), K, item="a"))
    monkeypatch.setattr("structure.pipeline.stages.extract.is_installed", lambda _: False)
    with pytest.raises(NotPresentError, match=r"12 videos.*structure-align\[video\]"):
        extract(VISION, f"pairs:{clips / 'pairs.jsonl'}", store=tmp_path / "store", frames=K)
