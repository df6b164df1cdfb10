"""Where the right answers stand, for every query of a retrieval test, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from structure.pipeline.metrics.matrices import SCORES_AT_ONCE, Array, as_numpy, blocks, unit_rows
from structure.store.errors import StructureError

COUNTED = 1 << 18
"""Scores that are made and counted at a time: 1 MiB, which stays in a processor's cache."""

LEAST_ROWS = 64
"""Queries at a time, however large the gallery: a product of fewer rows is slow."""


@dataclass(frozen=True)
class Ranks:
    """Rank of every right answer, 0 = first; cosine descending, then gallery index ascending.

    `of_images` (captions,) int32: the caption's image among all images. `of_captions` (captions,) int32: each caption
    among all captions, asked by its image. `image_of_text` (captions,) int64 ties the two together.
    """

    of_images: np.ndarray
    of_captions: np.ndarray
    image_of_text: np.ndarray

    @cached_property
    def of_texts(self) -> np.ndarray:
        """(images,) int32: the best of the image's captions among all captions."""
        best = np.full(int(self.image_of_text.max()) + 1, np.iinfo(np.int32).max, dtype=np.int32)
        np.minimum.at(best, self.image_of_text, self.of_captions)
        return best

    @cached_property
    def precisions(self) -> np.ndarray:
        """(images,) float64 average precision of text retrieval: mean over the image's captions of the precision at
        their rank. Image retrieval has one right answer, so its average precision is `1 / (1 + of_images)`."""
        order = np.lexsort((self.of_captions, self.image_of_text))
        owner = self.image_of_text[order]
        counts = np.bincount(owner)
        found = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts) + 1
        return np.bincount(owner, weights=found / (self.of_captions[order] + 1.0)) / counts

    def metrics(self, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
        """`image_retrieval_recall@k` (mean over captions) and `text_retrieval_recall@k` (mean over images)."""
        recalls = {}
        for k in ks:
            recalls[f"image_retrieval_recall@{k}"] = float((self.of_images < k).mean())
            recalls[f"text_retrieval_recall@{k}"] = float((self.of_texts < k).mean())
        return recalls


def retrieval_ranks(
    image_embeddings: Array, text_embeddings: Array, image_of_text: Array, *, at_once: int = SCORES_AT_ONCE
) -> Ranks:
    """Rank `(images, dim)` and `(captions, dim)` embeddings, raw or unit, against each other by cosine.

    `image_of_text` (captions,) holds the image row of each caption; every image needs at least one caption. At most
    `at_once` scores exist at a time, so 40,504 images x 202,520 captions need no 30 GiB matrix.
    """
    images = unit_rows(image_embeddings, name="image embeddings")
    texts = unit_rows(text_embeddings, name="caption embeddings").to(images)
    if images.shape[1] != texts.shape[1]:
        raise StructureError(
            f"Images have {images.shape[1]} dimensions and captions {texts.shape[1]}: no cosine between them. "
            "Embed both with the same aligner."
        )
    owner = _owners(image_of_text, images=len(images), captions=len(texts))
    captions = torch.arange(len(texts), device=images.device)
    image = torch.from_numpy(owner).to(images.device)
    by_image = torch.argsort(image, stable=True)
    of_captions = np.empty(len(texts), dtype=np.int32)
    if len(images) * len(texts) <= at_once:  # one product serves both directions
        scores = images @ texts.T
        of_captions[by_image.cpu().numpy()] = _answer_ranks(scores.__getitem__, image[by_image], by_image, scores.shape)
        return Ranks(of_images=_column_ranks(scores, image), of_captions=of_captions, image_of_text=owner)
    of_captions[by_image.cpu().numpy()] = _answer_ranks(
        lambda rows: images[rows] @ texts.T, image[by_image], by_image, (len(images), len(texts)), at_once=at_once
    )
    of_images = _answer_ranks(
        lambda rows: texts[rows] @ images.T, captions, image, (len(texts), len(images)), at_once=at_once
    )
    return Ranks(of_images=of_images, of_captions=of_captions, image_of_text=owner)


def _steps(rows: int, columns: int, at_once: int) -> Iterator[slice]:
    return blocks(rows, columns, at_once=min(at_once, max(COUNTED, LEAST_ROWS * columns)))


def _answer_ranks(
    scored: Callable[[slice], torch.Tensor],
    query: torch.Tensor,
    answer: torch.Tensor,
    shape: tuple[int, int],
    *,
    at_once: int = SCORES_AT_ONCE,
) -> np.ndarray:
    """(answers,) int32 rank of every answer; `query[i]` (ascending) has gallery row `answer[i]` for an answer.

    `scored` gives the scores of some queries with the gallery, `shape` (queries, gallery) is that of all of them.
    """
    columns = torch.arange(shape[1], device=query.device)
    bounds = torch.searchsorted(query, torch.arange(shape[0] + 1, device=query.device))
    found = torch.empty(len(query), dtype=torch.int32, device=query.device)
    for rows in _steps(*shape, at_once):
        scores = scored(rows)
        marks = torch.empty_like(scores, dtype=_counting(shape[1]))
        first, end = bounds[rows.start : rows.stop], bounds[rows.start + 1 : rows.stop + 1]
        for slot in range(int((end - first).max())):
            here = (first + slot < end).nonzero()[:, 0]
            some = scores if len(here) == len(scores) else scores[here]
            one = first[here] + slot
            place = answer[one][:, None]
            # An answer's score is read from the same product as its rivals', so rounding cannot put it above itself.
            right = some.gather(1, place)
            above = torch.gt(some, right, out=marks[: len(some)]).sum(dim=1)
            as_high = torch.ge(some, right, out=marks[: len(some)]).sum(dim=1)
            if bool((as_high - above > 1).any()):
                above += torch.count_nonzero((some == right) & (columns < place), dim=1)
            found[one] = above.int()
    ranks: np.ndarray = found.cpu().numpy()
    return ranks


def _column_ranks(scores: torch.Tensor, answer: torch.Tensor) -> np.ndarray:
    """(columns,) int32 rank among all rows of the one answer of each column, row `answer[i]`."""
    right = scores.gather(0, answer[None])
    above, as_high = (torch.zeros_like(right[0], dtype=_counting(len(scores))) for _ in range(2))
    marks: torch.Tensor | None = None
    for rows in _steps(len(scores), scores.shape[1], SCORES_AT_ONCE):
        some = scores[rows]
        marks = torch.empty_like(some, dtype=above.dtype) if marks is None else marks[: len(some)]
        above += torch.gt(some, right, out=marks).sum(dim=0)
        as_high += torch.ge(some, right, out=marks).sum(dim=0)
    (tied,) = (as_high - above > 1).nonzero(as_tuple=True)
    if len(tied):
        before = torch.arange(len(scores), device=scores.device)[:, None] < answer[tied]
        above[tied] += torch.count_nonzero((scores[:, tied] == right[:, tied]) & before, dim=0)
    ranks: np.ndarray = above.int().cpu().numpy()
    return ranks


def _counting(most: int) -> torch.dtype:
    """What ones and zeros are summed in, exactly, up to so many: floating point, as counting True takes ten times as
    long."""
    return torch.float32 if most <= 1 << 24 else torch.float64


def _owners(image_of_text: Array, *, images: int, captions: int) -> np.ndarray:
    owner = as_numpy(image_of_text)
    if owner.ndim != 1 or owner.dtype.kind not in "iu":
        raise ValueError(f"image_of_text must be one image row a caption, got shape {owner.shape} of {owner.dtype}")
    if len(owner) != captions or not images or not captions:
        raise StructureError(
            f"{images} images, {captions} captions and {len(owner)} entries of image_of_text make no retrieval test: "
            "every caption needs its image."
        )
    if owner.min() < 0 or owner.max() >= images:
        worst = int(np.argmax((owner < 0) | (owner >= images)))
        raise StructureError(f"Caption {worst} points to image {owner[worst]}, but there are {images} images.")
    bare = np.flatnonzero(np.bincount(owner, minlength=images) == 0)
    if len(bare):
        raise StructureError(
            f"{len(bare)} of {images} images have no caption, first image {bare[0]}: text retrieval has no answer for "
            "them. Leave them out of the gallery."
        )
    return np.asarray(owner, dtype=np.int64)
