"""Zero-shot segmentation: patches of windows scored with class vectors, upsampled, compared with masks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np

from structure.pipeline.aligners.heads.concat_head import ConcatHead
from structure.pipeline.datasets.windows import WindowedImages
from structure.pipeline.evaluation.embeddings import Embeddings
from structure.pipeline.evaluation.evaluated_aligner import EvaluatedAligner
from structure.pipeline.evaluation.judge import Judge
from structure.pipeline.evaluation.mask_protocol import protocol_of
from structure.pipeline.evaluation.masked_images import DRAWN, MaskedImages
from structure.pipeline.evaluation.overlay import Overlay, draw_overlays
from structure.pipeline.evaluation.score_maps import label_map, whole_label_maps
from structure.pipeline.evaluation.task import TaskRows
from structure.pipeline.evaluation.visible_region import frame_of
from structure.pipeline.extraction.stored_or_extracted import FeatureSource
from structure.pipeline.metrics.confusion_areas import Areas, segmentation_areas
from structure.pipeline.metrics.score import TaskScores
from structure.pipeline.metrics.score_segmentation import score_segmentation
from structure.pipeline.metrics.zero_shot_classifier import class_vectors_of
from structure.pipeline.progress import Listener, Progress
from structure.store import FeatureSet
from structure.store.errors import NotPresentError, StructureError

WINDOWS_AT_ONCE = 64
OVERLAYS = 3


@dataclass(frozen=True)
class Patches:
    """The patch tokens of the windows over a set of images: a layer of their features, in a grid a window."""

    windows: WindowedImages
    features: FeatureSet
    layer: str
    grid: tuple[int, int]

    def readable(self, picture: int) -> bool:
        """Whether the patches of all windows of the image are there."""
        places = self.windows.windows_of(picture)
        return bool(self.features.valid[places.start : places.stop].all())


def segment_zeroshot(question: TaskRows, subject: EvaluatedAligner, source: FeatureSource, *, seed: int) -> Judge:
    """One aligner on one set of masks. Features of windows are saved in the store as a dataset of their own."""
    task, pictures = question.task, question.rows.dataset
    if pictures is None:
        raise NotPresentError(f"The images and masks of {question.samples.dataset} are not on this machine.")
    masks = question.memo.setdefault(
        "masks", MaskedImages(pictures, protocol_of(pictures.mask_classes, task.background), task.window)
    )
    layer = token_layer(subject)
    windows, rows = masks.windows(frame_of(source.store, source, subject.vision), source)
    features = source.features(subject.vision, rows, tokens=(layer,))
    grid = features.tokens(layer, 0, 0).grid
    if grid is None:
        raise StructureError(f"The tokens of {layer} of {subject.vision.name} lie on no grid: they are no patches.")
    patches, words = Patches(windows, features, layer, grid), subject.texts(source, question.prompt_rows)
    shown = _shown(len(pictures)) if masks.drawn < DRAWN else frozenset()
    masks.drawn += any(patches.readable(picture) and masks.truth(picture) is not None for picture in shown)
    return _Segmentation(question, subject, source, masks, patches, words, shown, seed)


def _shown(count: int) -> frozenset[int]:
    """Images of which an overlay is saved: spread over the set, the same for every aligner."""
    return frozenset(np.linspace(0, count - 1, num=min(OVERLAYS, count)).round().astype(int).tolist())


@dataclass(frozen=True)
class _Segmentation:
    """One aligner on masks whose patches and prompts (`words`) are there; `shown` are the images to draw."""

    question: TaskRows
    subject: EvaluatedAligner
    source: FeatureSource
    masks: MaskedImages
    patches: Patches
    words: Embeddings
    shown: frozenset[int]
    seed: int

    def __call__(self, on_event: Listener) -> TaskScores:
        prompts, pictures, names = self.question.prompts, self.masks.pictures, self.masks.protocol.names
        assert prompts is not None
        vectors = class_vectors_of(self.words.blocks(), prompts.counts()).numpy()
        item_ids = self.question.item_ids
        areas: list[Areas] = []
        read: list[int] = []
        overlays: list[Overlay] = []
        found = scored(self.patches, self.subject, vectors, self.source)
        for some, truths, guesses in guessed(found, self.masks, self.patches):
            on_event(Progress(f"segmenting {pictures.name}", some[-1] + 1, len(pictures), "images"))
            areas.append(segmentation_areas(guesses, truths, classes=len(names)))
            read += some
            for place in (place for place, picture in enumerate(some) if picture in self.shown):
                image = np.asarray(pictures.image(some[place]))
                overlays.append(Overlay(item_ids[some[place]], image, truths[place], guesses[place]))
        if not read:
            raise StructureError(f"{pictures.name}: none of {len(pictures)} images and masks could be read.")
        judged = score_segmentation(
            Areas.together(areas),
            ids=[item_ids[picture] for picture in read],
            classes=names,
            without=self.masks.protocol.without,
            metrics=self.question.metrics,
            seed=self.seed,
        )
        drawn = {"overlays.png": draw_overlays(overlays, names)} if overlays else {}
        return replace(judged, notes={**judged.notes, **self._notes(len(read))}, pictures=drawn)

    def _notes(self, read: int) -> dict[str, Any]:
        task, windows = self.question.task, self.patches.windows
        return {
            "background": task.background,
            "window": task.window,
            "window_side": list(windows.frame.side),
            "windows": len(windows),
            "token_layer": self.patches.layer,
            "unreadable": len(self.masks.pictures) - read,
        }


def scored(
    patches: Patches, subject: EvaluatedAligner, vectors: np.ndarray, source: FeatureSource
) -> Iterator[tuple[list[int], np.ndarray]]:
    """Images with the scores of their windows `(window, patch, class)` float32: some of one window each, or one of
    several. An image is left out where one of its windows cannot be read."""
    windows = patches.windows
    alone = len(windows) == len(windows.plans)
    held: dict[int, np.ndarray] = {}
    for start in range(0, len(windows), WINDOWS_AT_ONCE):
        stop = min(start + WINDOWS_AT_ONCE, len(windows))
        tokens = source.tokens(patches.features, patches.layer, start, stop)
        there = np.flatnonzero(tokens.lengths)
        if len(there):
            values = tokens.values.reshape(len(there), -1, tokens.values.shape[1])
            found = np.asarray(subject.aligner.patch_scores(values, vectors, prefix=tokens.prefix))
            if alone:
                yield (start + there).tolist(), found
                continue
            held |= {start + int(row): found[place] for place, row in enumerate(there)}
        last = int(windows.of[stop - 1])
        for picture in range(int(windows.of[start]), last + 1):
            places = windows.windows_of(picture)
            if not start < places.stop <= stop:
                continue  # its last window comes with a later batch, or came with an earlier one
            mine = [held.pop(place) for place in places if place in held]
            if len(mine) == len(places):
                yield [picture], np.stack(mine)


def guessed(
    found: Iterable[tuple[list[int], np.ndarray]], masks: MaskedImages, patches: Patches
) -> Iterator[tuple[list[int], np.ndarray, np.ndarray]]:
    """Images with their true and guessed label maps, `(image, height, width)` each, of those that can be read; images
    of one window and size go together."""
    for images, scores in found:
        if len(scores) > len(images):
            ((picture, truth),) = ((picture, masks.truth(picture)) for picture in images)
            if truth is not None:
                plan = patches.windows.plans[picture]
                guess = label_map(list(scores), plan, grid=patches.grid, size=_size(truth))
                yield images, truth[None], guess[None]
            continue
        read = [(place, truth) for place, picture in enumerate(images) if (truth := masks.truth(picture)) is not None]
        for size, same in groupby(read, key=lambda each: _size(each[1])):
            places, truths = zip(*same, strict=True)
            guesses = whole_label_maps(scores[list(places)], grid=patches.grid, size=size)
            yield [images[place] for place in places], np.stack(truths), guesses


def _size(labels: np.ndarray) -> tuple[int, int]:
    return labels.shape[0], labels.shape[1]


def token_layer(subject: EvaluatedAligner) -> str:
    """The layer whose tokens the vision head takes. Raises `StructureError` for a vector, which has no patches."""
    if subject.aligner.vision.kind == ConcatHead.kind:
        raise StructureError(
            f"The aligner {subject.name} reads {subject.layers['vision']}: the patches of one layer are no patches of "
            "another. Train one on a single vision layer: structure align --layers VISION,TEXT"
        )
    layer = str(subject.layers["vision"]).partition("@")[0]
    if layer == "pooled":
        raise StructureError(
            f"The aligner {subject.name} reads the layer pooled, one vector an image, which has no patches. "
            "Train one on a layer with tokens: structure align --layers VISION,TEXT"
        )
    return layer
