"""What is searched among: aligned embeddings of one or several splits as rows of one gallery, and what each row is."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from structure.pipeline.extraction.sample_index import SampleIndex
from structure.pipeline.inference.aligned_embeddings import AlignedEmbeddings
from structure.store import FeatureSet, Samples

LARGEST = 1.001
"""No row is longer: unit rows as float16, each entry off by at most 2**-11 of itself."""


@dataclass(frozen=True)
class GalleryRow:
    """`id` of the sample, or of its caption; `sample` the sample's; `text` its first caption, or the caption itself."""

    id: str
    sample: str
    text: str


@dataclass(frozen=True)
class GallerySplit:
    """The rows of one feature set: whose they are (`index`), their embeddings, and which are `usable` (rows,) bool:
    could be read and are wanted."""

    index: SampleIndex
    aligned: AlignedEmbeddings
    usable: np.ndarray

    def __len__(self) -> int:
        return len(self.aligned.features)

    @property
    def name(self) -> str:
        """Its dataset and split."""
        return f"{self.samples.dataset}/{self.samples.split}"

    @property
    def features(self) -> FeatureSet:
        return self.aligned.features

    @property
    def samples(self) -> Samples:
        return self.index.samples

    @cached_property
    def _names(self) -> tuple[Sequence[str], Sequence[str], Sequence[str | None]]:
        """Ids of the rows, of their samples, and their texts."""
        manifest, samples = self.features.manifest, self.samples
        if manifest.rows_of == "captions":
            items, owners = samples.item_ids, samples.item_of_caption(manifest.captions)
            ids = samples.row_ids("captions", manifest.captions)
            return ids, [items[owner] for owner in owners], samples.texts(manifest.captions)
        items = samples.item_ids
        return items, items, samples.first_texts

    def row(self, number: int) -> GalleryRow:
        """What a row is."""
        ids, owners, texts = self._names
        return GalleryRow(ids[number], owners[number], texts[number] or "")

    def contents(self) -> list[tuple[str, str]]:
        """Of each row what tells it from others: its id, and the digest of its image or its text."""
        manifest = self.features.manifest
        if manifest.rows_of == "captions":
            ids, _, texts = self._names
            return [(ids[row], texts[row] or "") for row in range(len(self))]
        return [(item, digest) for item, (_, digest) in self.samples.digests.items()][: len(self)]


class SplitGallery:
    """Splits as one gallery (see `top_k`): the rows of the first, then those of the next; a sample that is in several
    splits is found once."""

    largest = LARGEST

    def __init__(self, splits: Sequence[GallerySplit], *, dim: int) -> None:
        self.splits = tuple(splits)
        self.edges = [0, *np.cumsum([len(split) for split in self.splits]).tolist()]
        self.shape: tuple[int, int] = (self.edges[-1], dim)

    def __len__(self) -> int:
        return self.shape[0]

    @cached_property
    def usable(self) -> np.ndarray:
        """(rows,) bool: rows that may be found."""
        mask = np.concatenate([split.usable for split in self.splits])
        if len(self.splits) > 1:
            seen: set[tuple[str, str]] = set()
            contents = [content for split in self.splits for content in split.contents()]
            for row, content in enumerate(contents):
                if mask[row] and content in seen:
                    mask[row] = False
                elif mask[row]:
                    seen.add(content)
        return mask

    def pieces(self, start: int, stop: int) -> list[np.ndarray]:
        found: list[np.ndarray] = []
        for first, split in zip(self.edges, self.splits, strict=False):
            low, high = max(start - first, 0), min(stop - first, len(split))
            if low < high:
                found += split.aligned.pieces(low, high)
        return found

    def samples(self) -> list[tuple[str, str]]:
        """Of every row its split and the id of its sample."""
        return [(split.name, split.row(number).sample) for split in self.splits for number in range(len(split))]

    def blocks(self, rows: int = 4096, *, among: np.ndarray | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Numbers (n,) of the usable rows, at most so many at a time, with their embeddings (n, dim) float16. `among`
        (rows,) bool takes others in their place."""
        wanted = self.usable if among is None else among
        for start in range(0, len(self), rows):
            stop = min(start + rows, len(self))
            chosen = np.flatnonzero(wanted[start:stop])
            if len(chosen):
                yield chosen + start, np.concatenate(self.pieces(start, stop))[chosen]

    def locate(self, row: int) -> tuple[GallerySplit, int]:
        """The split that a row is of, and its number there."""
        which = bisect_right(self.edges, row) - 1
        return self.splits[which], row - self.edges[which]
