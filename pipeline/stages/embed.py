"""Embed: aligned embeddings with their ids, in files of other programs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import KW_ONLY, asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from structure.pipeline.evaluation.evaluated_aligner import EvaluatedAligner
from structure.pipeline.inference.aligned_embeddings import Side
from structure.pipeline.inference.embedding_files import (
    WRITERS,
    EmbeddedRow,
    EmbeddingTable,
    write_clip_retrieval,
)
from structure.pipeline.inference.gallery import SplitGallery
from structure.pipeline.inference.gallery_sources import GallerySource, chosen_data
from structure.pipeline.inference.image_files import SplitFiles
from structure.pipeline.inference.written_files import require_ending
from structure.pipeline.keyword_form import keyword_form
from structure.pipeline.run_context import RunContext
from structure.pipeline.work_estimate import WorkEstimate
from structure.store.errors import StructureError, UsageError, unknown

Layout = Literal["file", "clip-retrieval"]
LAYOUTS: tuple[Layout, ...] = ("file", "clip-retrieval")
CLIP_RETRIEVAL: Layout = "clip-retrieval"


@dataclass(frozen=True)
class EmbedRequest:
    """Write the aligned embeddings of images, or of texts, with their ids.

    `data` is a folder of images, which is encoded once, or a dataset of the store or of any kind, with one `split` of
    it. `of`: "images" or "text" (captions). `out` is a file that ends in .parquet, .npy (the ids beside it, as
    .ids.json) or .safetensors (the ids in its metadata), float32; with `format="clip-retrieval"` a new folder of
    img_emb/, text_emb/ and metadata/ as that program reads them. `aligner` is a name in the store, the newest by
    default. Raises StructureError for names that do not exist (the nearest are offered).
    """

    data: str | Path
    _: KW_ONLY
    out: str | Path
    of: Literal["images", "text"] = "images"
    format: Layout = "file"
    aligner: str | None = None
    split: str | None = None

    def __post_init__(self) -> None:
        for option, value, known in (("--of", self.of, ("images", "text")), ("--format", self.format, LAYOUTS)):
            if value not in known:
                raise unknown(f"value of {option}", value, known)
        if self.format == CLIP_RETRIEVAL and self.of == "text":
            raise UsageError("--format clip-retrieval writes images and their texts. Leave out --of text.")
        if self.format == "file":
            require_ending("--out", Path(self.out), list(WRITERS))


@dataclass(frozen=True)
class EmbedResult:
    """What was written: `rows` embeddings of width `dim`, unit rows in the aligner's space; `texts` rows of texts."""

    aligner: str
    dataset: str
    of: str
    rows: int
    texts: int
    dim: int
    out: str
    encoder_passes: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The document of `structure embed --json`."""
        return asdict(self)


def plan(request: EmbedRequest, context: RunContext) -> tuple[WorkEstimate, ...]:
    """What has to be encoded, aligned and written; writes nothing. Raises as `run` does."""
    source = GallerySource(context, EvaluatedAligner.of(context, request.aligner), save=False)
    choice = chosen_data(context.store, request.data, request.split)
    folders = request.format == CLIP_RETRIEVAL
    sides: list[Side] = ["text" if request.of == "text" else "vision"]
    if folders and choice.folder is None:
        sides.append("text")
    parts = source.plan(choice, *sides)
    rows = sum(part.rows for part in parts[1::2])
    size = rows * source.subject.aligner.dim * (2 if folders else 4)
    return (*parts, WorkEstimate(f"{request.out} (rows)", rows, rows, size, 0, 0.0))


def run(request: EmbedRequest, context: RunContext) -> EmbedResult:
    """Write them. Raises NotPresentError for an encoder or data that are not here, StructureError for what is not
    there, OSError for a file that cannot be written."""
    began = time.perf_counter()
    subject = EvaluatedAligner.of(context, request.aligner)
    source, out = GallerySource(context, subject), Path(request.out)
    choice = chosen_data(context.store, request.data, request.split)
    gallery = source.open(choice, "vision" if request.of == "images" else "text")
    table, texts = _table(context, gallery), None
    if request.format == CLIP_RETRIEVAL:
        if choice.folder is None:
            texts = _first_texts(gallery, source.open(choice, "text"))
        write_clip_retrieval(out, table, texts)
    else:
        WRITERS[out.suffix.lower()](out, table)
    return EmbedResult(
        subject.name,
        gallery.splits[0].samples.dataset,
        request.of,
        len(table.rows),
        0 if texts is None else len(texts.rows),
        table.dim,
        str(out),
        source.features.passes,
        time.perf_counter() - began,
    )


def _table(context: RunContext, gallery: SplitGallery) -> EmbeddingTable:
    files = {split.name: SplitFiles(context, split) for split in gallery.splits}

    def rows() -> Iterator[EmbeddedRow]:
        for row in np.flatnonzero(gallery.usable).tolist():
            split, number = gallery.locate(row)
            found = split.row(number)
            file = files[split.name].file(found.sample)
            yield EmbeddedRow(found.id, file.path, file.state, found.text)

    return EmbeddingTable(tuple(rows()), gallery.shape[1], lambda: (values for _, values in gallery.blocks()))


def _first_texts(images: SplitGallery, texts: SplitGallery) -> EmbeddingTable:
    """The embedding of the first text of each image, in the order of the images. Raises StructureError for an image
    without one."""
    first: dict[tuple[str, str], int] = {}
    for row in np.flatnonzero(texts.usable).tolist():
        split, number = texts.locate(row)
        first.setdefault((split.name, split.row(number).sample), row)
    wanted: list[int] = []
    for row in np.flatnonzero(images.usable).tolist():
        split, number = images.locate(row)
        sample = split.row(number).sample
        if (split.name, sample) not in first:
            raise StructureError(
                f"{split.name}: the image {sample} has no text, and clip-retrieval needs one for each. Write the "
                "images alone: --out E.parquet, without --format."
            )
        wanted.append(first[split.name, sample])

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, len(wanted), 4096):
            yield np.concatenate([texts.pieces(row, row + 1)[0] for row in wanted[start : start + 4096]])

    rows = tuple(EmbeddedRow("", "", "", "") for _ in wanted)
    return EmbeddingTable(rows, texts.shape[1], blocks)


embed = keyword_form(
    "embed", EmbedRequest, run, plan, about="Write aligned embeddings with their ids, for other programs."
)
