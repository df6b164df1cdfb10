"""What answers searches: the aligner's encoders, loaded once, and the aligned embeddings of what is searched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from structure.pipeline.evaluation.evaluated_aligner import EvaluatedAligner
from structure.pipeline.exports.side import ExportedSide
from structure.pipeline.extraction.batches import tokenize
from structure.pipeline.inference.aligned_embeddings import Side
from structure.pipeline.inference.found_rows import FoundRows
from structure.pipeline.inference.gallery_sources import GalleryChoice, GallerySource
from structure.pipeline.inference.queries import encoded, open_side, script_note, training_scripts
from structure.pipeline.inference.search_result import Hit, Target
from structure.pipeline.run_context import RunContext
from structure.pipeline.serving.gallery_in_memory import searched
from structure.pipeline.serving.threads import threads_for
from structure.pipeline.serving.withdrawals import Withdrawals
from structure.pipeline.similarity.knn.top_k import MEMORY, Gallery, GalleryArray, TopK, top_k
from structure.store.errors import NotPresentError, StructureError

SIDES: tuple[Side, ...] = ("text", "vision")


@dataclass(frozen=True)
class SearchQuestion:
    """What is looked for: `words`, an `example` (an image as the vision encoder's `preprocess` made it), or what is
    `like` an image of the gallery, by its row. `to`: images or texts; `k` of them."""

    to: Target
    k: int
    words: str | None = None
    example: Any = None
    like: int | None = None


@dataclass(frozen=True)
class LocatedHit:
    """A hit, and the row of its image in the gallery of images; None for a text without one there."""

    hit: Hit
    image_row: int | None


@dataclass(frozen=True)
class SearchReply:
    """Hits, best first, of the `rows` that were searched; `notes` say what is odd about the question."""

    hits: tuple[LocatedHit, ...]
    rows: int
    notes: tuple[str, ...]


class SearchEngine:
    """Answers questions in batches. One thread at a time may ask. `found` has the galleries: "images", and "text" where
    captions are in the store; `sides` the encoders that are here. `memory` bounds the bytes of a search."""

    def __init__(
        self,
        context: RunContext,
        subject: EvaluatedAligner,
        found: Mapping[Target, FoundRows],
        sides: Mapping[Side, ExportedSide],
        *,
        memory: int = MEMORY,
    ) -> None:
        self.context, self.subject, self.found, self.sides, self.memory = context, subject, found, sides, memory
        self.scripts = training_scripts(context, subject)
        self.searched: Mapping[Target, Gallery] = {to: searched(rows.gallery) for to, rows in found.items()}
        self.withdrawals = Withdrawals(context.store, [rows.gallery for rows in found.values()])
        self.threads: dict[str, Callable[[], AbstractContextManager[None]]] = {}
        """Of the encoder of each side, and of "search"; all threads where nothing was measured."""

    @classmethod
    def load(
        cls, context: RunContext, subject: EvaluatedAligner, choice: GalleryChoice, *, memory: int = MEMORY
    ) -> SearchEngine:
        """With everything in place for the first question: what is not in the store is encoded, encoders have run once.

        Raises NotPresentError where neither encoder is on this machine, and as `GallerySource.open` does.
        """
        source = GallerySource(context, subject)
        images = source.open(choice, "vision")
        found: dict[Target, FoundRows] = {"images": FoundRows(context, images)}
        if choice.folder is None:
            stored = GalleryChoice(dataset=images.splits[0].samples.dataset, split=choice.split)
            texts = source.open_stored(stored, "text")
            if texts is not None:
                found["text"] = FoundRows(context, texts)
        engine = cls(context, subject, found, _loaded_sides(context, subject), memory=memory)
        engine._warm()
        return engine

    @property
    def dataset(self) -> str:
        return self.found["images"].gallery.splits[0].samples.dataset

    def refresh(self) -> bool:
        """Leave out what was withdrawn from the store since the last time; whether there was anything."""
        gone = self.withdrawals.refresh()
        for to, found in self.found.items():
            values = self.searched[to]
            for gallery, rows in gone:
                if gallery is found.gallery and isinstance(values, GalleryArray):
                    values.values[rows] = 0
        if gone:
            self.__dict__.pop("rows", None)
            self.__dict__.pop("_image_rows", None)
        return bool(gone)

    @cached_property
    def rows(self) -> Mapping[Target, int]:
        """How many images, and texts, can be found."""
        return {to: int(np.count_nonzero(found.gallery.usable)) for to, found in self.found.items()}

    def is_image(self, row: int) -> bool:
        """Whether an image of that row may be shown."""
        self.refresh()
        usable = self.found["images"].gallery.usable
        return 0 <= row < len(usable) and bool(usable[row])

    def answer(self, questions: Sequence[SearchQuestion]) -> list[SearchReply]:
        """The replies in order. Scores are those of `structure search`, up to the rounding of a padded batch."""
        self.refresh()
        vectors, notes = self._encoded(questions)
        replies: dict[int, SearchReply] = {}
        for to in dict.fromkeys(question.to for question in questions):
            asked = [number for number, question in enumerate(questions) if question.to == to]
            best = self._search(to, vectors[asked], max(questions[number].k for number in asked))
            for place, number in enumerate(asked):
                cut = slice(None, questions[number].k)
                own = TopK(best.scores[place : place + 1, cut], best.rows[place : place + 1, cut])
                replies[number] = SearchReply(self._located(to, own), self.rows[to], tuple(notes[number]))
        return [replies[number] for number in range(len(questions))]

    def _search(self, to: Target, vectors: np.ndarray, k: int) -> TopK:
        usable, device = self.found[to].gallery.usable, self.context.resolved_device
        with self._threads("search"):
            return top_k(vectors, self.searched[to], k=k, usable=usable, memory=self.memory, device=device)

    def _encode(self, side: Side, examples: Sequence[Any]) -> np.ndarray:
        with self._threads(side):
            return encoded(self.sides[side], examples)

    def _threads(self, what: str) -> AbstractContextManager[None]:
        return self.threads.get(what, nullcontext)()

    def _encoded(self, questions: Sequence[SearchQuestion]) -> tuple[np.ndarray, list[list[str]]]:
        """(questions, dim) float32, each kind of question in one pass, and what is odd about each question."""
        vectors = np.empty((len(questions), self.subject.aligner.dim), dtype=np.float32)
        notes: list[list[str]] = [[] for _ in questions]
        words = {number: question.words for number, question in enumerate(questions) if question.words is not None}
        if words:
            side = self.sides["text"]
            examples = tokenize(side.encoder, list(words.values()))
            vectors[list(words)] = self._encode("text", examples)
            for (number, query), example in zip(words.items(), examples, strict=True):
                notes[number] += filter(None, [script_note(query, self.scripts, aligner=self.subject.name)])
                if getattr(example, "cut", 0):
                    notes[number].append(f"the query is longer than {side.encoder.limit} tokens and was cut")
        images = [number for number, question in enumerate(questions) if question.example is not None]
        if images:
            vectors[images] = self._encode("vision", [questions[number].example for number in images])
        for number, question in enumerate(questions):
            if question.like is not None:
                vectors[number] = self.searched["images"].pieces(question.like, question.like + 1)[0][0]
        return vectors, notes

    def _located(self, to: Target, best: TopK) -> tuple[LocatedHit, ...]:
        (hits,) = self.found[to].hits(best)
        if to == "images":
            return tuple(LocatedHit(hit, row) for hit, row in zip(hits, best.rows[0].tolist(), strict=True))
        return tuple(LocatedHit(hit, self._image_rows.get((hit.split, hit.sample))) for hit in hits)

    @cached_property
    def _image_rows(self) -> Mapping[tuple[str, str], int]:
        """The split and id of every image that may be shown -> its row."""
        gallery = self.found["images"].gallery
        return {sample: row for row, sample in enumerate(gallery.samples()) if gallery.usable[row]}

    def _warm(self) -> None:
        """A question of each kind, so that no user waits for what is read or compiled once; measures the threads."""
        examples: dict[Side, Any] = {}
        if "text" in self.sides:
            (examples["text"],) = tokenize(self.sides["text"].encoder, ["a red circle"])
        if "vision" in self.sides:
            from PIL import Image

            examples["vision"] = self.sides["vision"].encoder.preprocess(Image.new("RGB", (64, 64), "white"))
        for side, example in examples.items():
            self.threads[side] = threads_for(partial(self._encode, side, [example]))
        vector = np.ones((1, self.subject.aligner.dim), dtype=np.float32)
        self.threads["search"] = threads_for(partial(self._search, "images", vector, 1))
        for to in self.found:
            self._located(to, self._search(to, vector, 1))


def _loaded_sides(context: RunContext, subject: EvaluatedAligner) -> dict[Side, ExportedSide]:
    """The encoders that are here. What cannot be asked for lack of one is said; raises where there is none to ask."""
    sides: dict[Side, ExportedSide] = {}
    lacking: list[StructureError] = []
    for side in SIDES:
        try:
            opened = open_side(context, subject, side)
        except NotPresentError as error:
            lacking.append(error)
            continue
        if opened.encoder.modality == side:
            sides[side] = opened
        else:
            told = f"{opened.encoder.name} is an encoder of {opened.encoder.modality}, which the page cannot send."
            lacking.append(NotPresentError(told))
    if not sides:
        raise lacking[0]
    for reason in lacking:
        context.note(f"{reason} Only {'images' if 'vision' in sides else 'words'} can be searched with.")
    return sides
