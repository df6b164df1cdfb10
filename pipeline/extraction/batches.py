"""Preprocessed examples in batches: images decoded in worker processes, texts sorted by length.

Batches never cross a shard, so the composition of a batch, and with it every stored bit, depends only on the shard.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch.utils.data

from structure.pipeline.encoders.encoder import Encoder
from structure.pipeline.extraction.augment_images import augmented
from structure.pipeline.extraction.sample_index import SampleIndex
from structure.store import Shard
from structure.store.errors import BadSampleError

AHEAD = 512
"""Examples that a worker process decodes ahead: large batches are fewer, so that memory holds them."""

HELD_PIXELS = 2**22
"""Pixels of decoded images that wait to be preprocessed together, and one image more; clips and frames do not wait."""


@dataclass(frozen=True)
class ExampleBatch:
    """Rows of a shard and their preprocessed examples; an example that could not be read is its BadSampleError."""

    shard: Shard
    rows: Sequence[int]
    examples: Sequence[Any]


def batches(
    encoder: Encoder,
    rows: SampleIndex,
    shards: Iterable[Shard],
    *,
    size: int,
    workers: int,
    captions: int | None,
    views: int = 1,
) -> Iterator[ExampleBatch]:
    """Every row of the shards, shard after shard; with several views a sample's views are rows one after another.

    The next shard is asked for when the images of its first batch may be decoded, some batches ahead.
    """
    if encoder.modality == "text":
        return _text_batches(encoder, rows.samples.texts(captions), shards, size)
    if rows.dataset is None:
        raise ValueError(f"a {encoder.modality} encoder needs the dataset's images or audio clips")
    return _picture_batches(_Pictures(rows, encoder, views), shards, size, workers)


def default_workers(device: str) -> int:
    """Decoding processes: beside a GPU a core less than there are, at most 16; on a CPU the encoder needs them all."""
    return min(16, max(1, (os.cpu_count() or 2) - 1)) if device.startswith("cuda") else 0


def _text_batches(encoder: Encoder, texts: Sequence[str], shards: Iterable[Shard], size: int) -> Iterator[ExampleBatch]:
    for shard in shards:
        examples = tokenize(encoder, texts[shard.start : shard.stop])
        # Longest first: padding is least, and the first batch shows whether memory holds.
        order = sorted(range(len(examples)), key=lambda i: (-len(examples[i]), i))
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            yield ExampleBatch(shard, [shard.start + i for i in chosen], [examples[i] for i in chosen])


def tokenize(encoder: Encoder, texts: Sequence[str]) -> list[Any]:
    """Token ids of texts; all at once where the encoder's tokenizer can, which is several times faster."""
    many = getattr(encoder.preprocess, "many", None)
    return list(many(texts)) if many is not None else [encoder.preprocess(text) for text in texts]


class _Pictures(torch.utils.data.Dataset[Any]):
    """Row -> preprocessed image, frames or audio clip, in a worker process; one that cannot be read comes as its
    error."""

    def __init__(self, rows: SampleIndex, encoder: Encoder, views: int) -> None:
        assert rows.dataset is not None
        self.dataset, self.preprocess, self.views = rows.dataset, encoder.preprocess, views
        self.items = rows.samples.item_ids if views > 1 else []
        self.heard, self.frames = encoder.modality == "audio", encoder.frames
        self.held = HELD_PIXELS if self.frames == 1 and not self.heard else 0

    def __getitems__(self, rows: Sequence[int]) -> list[Any]:
        """Images are decoded some at a time and then preprocessed: decoder and preprocessing in turn, image by image,
        find each other's code and tables in the processor's caches, and take a quarter longer."""
        examples: list[Any] = []
        waiting: list[Any] = []
        pixels = 0
        for row in rows:
            waiting.append(self._tried(self._read, row))
            pixels += getattr(waiting[-1], "width", 0) * getattr(waiting[-1], "height", 0)
            if pixels >= self.held:
                examples += self._preprocessed(waiting)
                waiting, pixels = [], 0
        return examples + self._preprocessed(waiting)

    def _read(self, row: int) -> Any:
        """The image, or the frames or audio clip, as the dataset has it."""
        index, view = divmod(row, self.views)
        if self.heard:
            return self.dataset.audio(index)
        if self.frames > 1:
            return self.dataset.frames(index, self.frames)
        image = self.dataset.image(index)
        return augmented(image, item=self.items[index], view=view) if view else image

    def _preprocessed(self, waiting: Sequence[Any]) -> list[Any]:
        return [each if isinstance(each, BadSampleError) else self._tried(self.preprocess, each) for each in waiting]

    @staticmethod
    def _tried(work: Callable[[Any], Any], given: Any) -> Any:
        """What the work gives, or the BadSampleError that it raises."""
        try:
            return work(given)
        except BadSampleError as error:
            return error


def _picture_batches(pictures: _Pictures, shards: Iterable[Shard], size: int, workers: int) -> Iterator[ExampleBatch]:
    handed: deque[tuple[Shard, list[int]]] = deque()  # to the loader, whose batches come in this order

    def plan() -> Iterator[list[int]]:
        for shard in shards:
            for start in range(shard.start, shard.stop, size):
                handed.append((shard, list(range(start, min(start + size, shard.stop)))))
                yield handed[-1][1]

    loader = torch.utils.data.DataLoader(
        pictures,
        batch_sampler=plan(),
        collate_fn=list,
        num_workers=workers,
        prefetch_factor=max(1, AHEAD // size) if workers else None,
    )
    for examples in loader:
        yield ExampleBatch(*handed.popleft(), examples)
