"""An aligned model from end to end: images and strings in, embeddings of one space out; search and labels on top."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from structure.pipeline.aligners.aligner import Aligner, load_aligner
from structure.pipeline.aligners.aligner_runs import RECORD
from structure.pipeline.datasets.decode_image import as_rgb
from structure.pipeline.datasets.image_files import frames_of, read_file
from structure.pipeline.device import resolve_device
from structure.pipeline.evaluation.evaluated_aligner import EvaluatedAligner
from structure.pipeline.exports.side import WHICH, ExportedSide, load_side
from structure.pipeline.extraction.batches import tokenize
from structure.pipeline.inference.found_rows import FoundRows
from structure.pipeline.inference.gallery_sources import GallerySource, chosen_data
from structure.pipeline.inference.labels import (
    TEMPERATURE,
    label_row,
    prompts_for,
    read_classes,
    temperature_of,
    top_labels,
)
from structure.pipeline.inference.queries import require_texts
from structure.pipeline.inference.search_result import Hit
from structure.pipeline.metrics.zero_shot_classifier import class_vectors_of
from structure.pipeline.progress import Listener, Note, silent
from structure.pipeline.run_context import RunContext
from structure.pipeline.similarity.knn.top_k import GalleryArray, top_k
from structure.store import Store, open_store
from structure.store.errors import StructureError, UsageError, unknown
from structure.store.files import Files
from structure.store.files_at_url import open_files

if TYPE_CHECKING:
    from PIL import Image

BATCH = 32

Picture = Any
"""An image: a PIL image of any size and mode, or the path of a file."""


class AlignedModel:
    """Both encoders of an aligner and its heads. The embeddings are those that evaluation takes from the store, up to
    the rounding of what is stored in float16. `home` is the store with the aligner's name, where it was loaded by
    name."""

    def __init__(
        self,
        vision: ExportedSide,
        text: ExportedSide,
        *,
        home: tuple[RunContext, str] | None = None,
        on_event: Listener = silent,
    ) -> None:
        self.aligner: Aligner = vision.aligner
        self.vision, self.text, self.home, self.on_event = vision, text, home, on_event

    @classmethod
    def load(
        cls,
        source: Store | str | Path,
        name: str | None = None,
        *,
        device: str = "auto",
        trust_remote_code: bool = False,
    ) -> AlignedModel:
        """The aligner `name` of a store, or the one in a folder, with the encoders on its record.

        Raises StructureError where there is no such aligner, NotPresentError for an encoder that is not here,
        FingerprintError where the encoder that loads is not the one that the aligner was trained on.
        """
        place = resolve_device(device)
        aligner = load_aligner(_folder(source, name)).to(place)
        vision, text = (load_side(aligner, which, device=place, trust_remote_code=trust_remote_code) for which in WHICH)
        home = None
        if name is not None:
            home = (RunContext.of(source, device=device, trust_remote_code=trust_remote_code), name)
        return cls(vision, text, home=home)

    @property
    def dim(self) -> int:
        return self.aligner.dim

    def encode_images(self, images: Sequence[Picture], *, batch_size: int = BATCH) -> np.ndarray:
        """Images -> aligned embeddings; `Aligner.embed_images` takes features of a layer instead.

        PIL images of any size and mode, or paths of image files -> `(len(images), dim)` float32 unit rows.

        They are turned upright and made RGB as images of a dataset are. Raises BadSampleError for a file that is not
        there or no image, StructureError for anything else.
        """
        from PIL import Image

        if isinstance(images, str | Path | Image.Image):
            raise StructureError("encode_images takes a list of images; write encode_images([image]).")
        for index, image in enumerate(images):
            if not isinstance(image, Image.Image | str | Path):
                raise StructureError(
                    f"Sample {index} is a {type(image).__name__}, not a PIL image or the path of an image file."
                )
        preprocess, frames = self.vision.encoder.preprocess, self.vision.encoder.frames

        def prepare(some: Sequence[Picture]) -> list[Any]:
            return [preprocess(_opened(image, frames)) for image in some]

        return self._encode(self.vision, images, prepare, batch_size)

    def encode_texts(self, texts: Sequence[str], *, batch_size: int = BATCH) -> np.ndarray:
        """Strings -> aligned embeddings; `Aligner.embed_texts` takes features of a layer instead.

        `(len(texts), dim)` float32 unit rows. A text too long for the encoder is cut, which is said.
        """
        if isinstance(texts, str):
            raise StructureError(f"encode_texts takes a list of strings; write encode_texts([{texts[:40]!r}]).")
        encoder = self.text.encoder

        def prepare(some: Sequence[str]) -> list[Any]:
            examples = tokenize(encoder, some)
            cut = sum(getattr(example, "cut", 0) > 0 for example in examples)
            if cut:
                self.on_event(Note(f"{cut} texts were longer than {encoder.limit} tokens and were cut."))
            return examples

        return self._encode(self.text, texts, prepare, batch_size)

    def similarity(self, images: np.ndarray, texts: np.ndarray) -> np.ndarray:
        """Scores `(images, texts)` of embeddings, as the aligner's method scores."""
        return np.asarray(self.aligner.similarity(images, texts))

    def search(self, queries: Any, images: str | Path | Sequence[Picture], *, k: int = 10) -> list[tuple[Hit, ...]]:
        """The `k` images nearest to each query, best first: one tuple of `Hit` a query.

        `queries`: words, an image (a PIL image or a `Path`), or a list of these. `images`: a dataset of the store, a
        folder or a dataset of any kind (for a model that was loaded from a store by name; encoded once and saved
        there), or a list of images, whose ids are their paths or their numbers. Raises UsageError for an empty query.
        """
        asked = list(queries) if isinstance(queries, list | tuple) else [queries]
        words = [number for number, query in enumerate(asked) if isinstance(query, str)]
        require_texts([asked[number] for number in words])
        others = [number for number in range(len(asked)) if number not in words]
        vectors = np.empty((len(asked), self.dim), dtype=np.float32)
        vectors[words] = self.encode_texts([asked[number] for number in words])
        vectors[others] = self.encode_images([asked[number] for number in others])
        if isinstance(images, str | Path):
            context, gallery = self._gallery(images)
            found = top_k(vectors, gallery, k=k, usable=gallery.usable, device=context.resolved_device)
            return FoundRows(context, gallery).hits(found)
        names = [str(image) if isinstance(image, str | Path) else str(number) for number, image in enumerate(images)]
        found = top_k(vectors, GalleryArray(self.encode_images(images)), k=k)
        return [
            tuple(
                Hit(rank, float(score), names[row], names[row] if isinstance(images[row], str | Path) else "")
                for rank, (row, score) in enumerate(zip(rows.tolist(), scores, strict=True), start=1)
            )
            for rows, scores in zip(found.rows, found.scores, strict=True)
        ]

    def label(
        self,
        images: str | Path | Sequence[Picture],
        classes: str | Sequence[str],
        *,
        templates: Sequence[str] = (),
        prompts: str | None = None,
    ) -> list[dict[str, Any]]:
        """The nearest classes of each image, a flat row each: `label`, `score`, `probability`, `margin`, `label_2`, ...

        `images` as `search` takes them (of a dataset or a folder, rows have an `id`), `classes`, `templates` and
        `prompts` as `structure label` does.
        """
        worded = prompts_for(read_classes(classes), templates=templates, prompts=prompts)
        vectors = class_vectors_of([self.encode_texts(worded.texts())], worded.counts()).numpy()
        temperature = temperature_of(self.aligner) or TEMPERATURE
        if not isinstance(images, str | Path):
            found = top_labels(self.encode_images(images), vectors, temperature=temperature)
            return [label_row(found, row, worded.classes) for row in range(len(images))]
        _, gallery = self._gallery(images)
        rows: list[dict[str, Any]] = []
        for numbers, values in gallery.blocks():
            found = top_labels(values, vectors, temperature=temperature)
            for place, (split, number) in enumerate(map(gallery.locate, numbers.tolist())):
                rows.append({"id": split.row(number).id, **label_row(found, place, worded.classes)})
        return rows

    def _gallery(self, data: str | Path) -> Any:
        """Where a dataset or a folder is searched, and its images."""
        if self.home is None:
            raise UsageError(
                f"{data} is searched in a store, and this model was loaded from a folder. Load it from its store: "
                "AlignedModel.load(store, name), or pass a list of images."
            )
        context = replace(self.home[0], on_event=self.on_event)
        subject = EvaluatedAligner.load(context.store, self.home[1], device=context.resolved_device)
        return context, GallerySource(context, subject).open(chosen_data(context.store, data), "vision")

    def _encode(
        self, side: ExportedSide, items: Sequence[Any], prepare: Callable[[Sequence[Any]], list[Any]], size: int
    ) -> np.ndarray:
        parts = [np.empty((0, self.dim), dtype=np.float32)]
        for start in range(0, len(items), size):
            parts.append(side.embed(prepare(items[start : start + size])).cpu().numpy())
        return np.concatenate(parts)


def _opened(image: Picture, frames: int) -> Image.Image | list[Image.Image]:
    """An RGB image, upright; of a video file so many frames."""
    if isinstance(image, str | Path):
        shown = list(frames_of(read_file(str(image), item=str(image)), frames, item=str(image), source=""))
        return shown if frames > 1 else shown[0]
    return as_rgb(image, item=f"image of {image.size}")


def _folder(source: Store | str | Path, name: str | None) -> Files:
    """The aligner's folder."""
    if name is None and not isinstance(source, Store) and open_files(source).exists(RECORD):
        return open_files(source)
    store = source if isinstance(source, Store) else open_store(source)
    there = store.folder("aligners").holding(RECORD)
    if name is None:
        raise StructureError(
            f"{store.url} is no aligner's folder. Of a store, name the aligner; it has: {', '.join(there) or 'none'}."
        )
    if name not in there:
        raise unknown("aligner", name, there, hint=f"The store is {store.url}.")
    return store.folder("aligners", name)
