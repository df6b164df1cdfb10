"""Samples and images are read in blocks: neither the block's size nor who reads it changes what comes out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from structure.pipeline.extraction import batches, sample_index
from structure.pipeline.extraction.sample_index import open_rows
from structure.pipeline.run_context import RunContext
from structure.store.errors import BadSampleError


class Log:
    """A dataset of images, one of which cannot be read, and a preprocessing that refuses another; both tell when."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.dataset, self.samples = self, SimpleNamespace(item_ids=list("abcdef"))
        self.modality, self.frames = "vision", 1

    def image(self, index: int) -> Any:
        self.done.append(f"read {index}")
        if index == 2:
            raise BadSampleError("c", "damaged")
        return Image.new("L", (10, 10), index)

    def preprocess(self, image: Any) -> int:
        self.done.append(f"made {image.getpixel((0, 0))}")
        if image.getpixel((0, 0)) == 4:
            raise BadSampleError("e", "too small")
        return int(image.getpixel((0, 0)))


@pytest.mark.parametrize(
    ("held", "order"),
    [
        (0, ["read 0", "made 0", "read 1", "made 1", "read 2", "read 3", "made 3", "read 4", "made 4"]),
        (200, ["read 0", "read 1", "made 0", "made 1", "read 2", "read 3", "read 4", "made 3", "made 4"]),
        (1000, ["read 0", "read 1", "read 2", "read 3", "read 4", "made 0", "made 1", "made 3", "made 4"]),
    ],
)
def test_images_wait_to_be_preprocessed_together(held: int, order: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "HELD_PIXELS", held)
    log: Any = Log()
    examples = batches._Pictures(log, log, views=1).__getitems__(range(5))
    assert log.done == order
    assert [getattr(each, "reason", each) for each in examples] == [0, 1, "damaged", 3, "too small"]


def test_clips_and_frames_do_not_wait() -> None:
    log: Any = Log()
    log.frames = 3
    assert batches._Pictures(log, log, views=1).held == 0


def test_threads_and_one_thread_read_the_same_samples(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    for seconds in (0.0, 1e9):  # a block is always long, or never
        monkeypatch.setattr(sample_index, "SHORT", seconds)
        read.append(open_rows(RunContext.of(tmp_path / f"{seconds}"), "scenes:50", split="train").samples)
    assert read[0].table == read[1].table
    assert len(read[0].table) == 250  # five captions a sample
