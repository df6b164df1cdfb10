"""An aligned model from end to end: images and strings in, embeddings of one space out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from structure.pipeline.aligners.aligner import Aligner, load_aligner
from structure.pipeline.aligners.aligner_runs import RECORD
from structure.pipeline.datasets.decode_image import as_rgb
from structure.pipeline.device import resolve_device
from structure.pipeline.exports.side import WHICH, ExportedSide, load_side
from structure.pipeline.extraction.batches import tokenize
from structure.pipeline.progress import Listener, Note, silent
from structure.store import Store, open_store
from structure.store.errors import StructureError, unknown
from structure.store.files import Files
from structure.store.files_at_url import open_files

if TYPE_CHECKING:
    from PIL import Image

BATCH = 32


class AlignedModel:
    """Both encoders of an aligner and its heads. The embeddings are those that evaluation takes from the store, up to
    the rounding of what is stored in float16."""

    def __init__(self, vision: ExportedSide, text: ExportedSide, *, on_event: Listener = silent) -> None:
        self.aligner: Aligner = vision.aligner
        self.vision, self.text, self.on_event = vision, text, on_event

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
        return cls(vision, text)

    @property
    def dim(self) -> int:
        return self.aligner.dim

    def encode_images(self, pictures: Sequence[Image.Image], *, batch_size: int = BATCH) -> np.ndarray:
        """Images -> aligned embeddings; `Aligner.embed_images` takes features of a layer instead.

        PIL images of any size and mode -> `(len(pictures), dim)` float32 unit rows.

        They are turned upright and made RGB as images of a dataset are. Raises StructureError for anything else.
        """
        from PIL import Image

        for index, picture in enumerate(pictures):
            if not isinstance(picture, Image.Image):
                raise StructureError(f"Sample {index} is a {type(picture).__name__}, not a PIL image: open it first.")
        preprocess = self.vision.encoder.preprocess

        def prepare(some: Sequence[Image.Image]) -> list[Any]:
            return [preprocess(as_rgb(picture, item=f"image of {picture.size}")) for picture in some]

        return self._encode(self.vision, pictures, prepare, batch_size)

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

    def _encode(
        self, side: ExportedSide, items: Sequence[Any], prepare: Callable[[Sequence[Any]], list[Any]], size: int
    ) -> np.ndarray:
        parts = [np.empty((0, self.dim), dtype=np.float32)]
        for start in range(0, len(items), size):
            parts.append(side.embed(prepare(items[start : start + size])).cpu().numpy())
        return np.concatenate(parts)


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
