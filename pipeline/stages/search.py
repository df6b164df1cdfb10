"""Search: images or texts nearest to words or to an image, among aligned embeddings of cached features."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

import numpy as np

from structure.pipeline.evaluation.evaluated_aligner import EvaluatedAligner
from structure.pipeline.inference.aligned_embeddings import Side
from structure.pipeline.inference.found_page import found_page
from structure.pipeline.inference.found_rows import FoundRows
from structure.pipeline.inference.gallery import SplitGallery
from structure.pipeline.inference.gallery_sources import GalleryChoice, GallerySource
from structure.pipeline.inference.index_folder import INDEX, IndexFolder
from structure.pipeline.inference.index_rows import nearest_rows, open_indexed
from structure.pipeline.inference.queries import encode_images, encode_texts, require_texts
from structure.pipeline.inference.search_result import QueryHits, Scores, SearchResult, Target
from structure.pipeline.inference.written_files import whole_file
from structure.pipeline.keyword_form import keyword_form
from structure.pipeline.run_context import RunContext
from structure.pipeline.similarity.knn.csls import csls_top_k, mean_nearest
from structure.pipeline.similarity.knn.top_k import MEMORY, TopK, top_k
from structure.pipeline.work_estimate import WorkEstimate
from structure.store.errors import UsageError, unknown

TARGETS: tuple[Target, ...] = ("images", "text")
SCORES: tuple[Scores, ...] = ("cosine", "csls")


@dataclass(frozen=True)
class SearchRequest:
    """Find the images, or the texts, that are nearest to queries in the space of an aligner.

    `queries` are words, `image` image files that are queries too. `aligner` is a name in the store, the newest by
    default. What is searched: a `dataset` of the store or of any kind, one `split` of it, or the folder `images`, which
    is encoded once; without these the dataset that the aligner was trained on, or the folder `index` of `structure
    index`, whose answers may lack some of the nearest. `to`: "images" or "text" (captions).
    `k` answers a query. `scores`: the aligner's own ("cosine"), or "csls", corrected for rows that are near to every
    query (arXiv 1710.04087). `memory` bounds the bytes of the search. `out` is a file for a page with thumbnails.
    Raises StructureError for a name that does not exist (the nearest are offered), an empty query, a number that makes
    no sense.
    """

    queries: Sequence[str] | str = ()
    _: KW_ONLY
    image: Sequence[str | Path] = ()
    aligner: str | None = None
    dataset: str | None = None
    split: str | None = None
    images: str | Path | None = None
    index: str | Path | None = None
    to: Target = "images"
    k: int = 10
    scores: Scores = "cosine"
    memory: int = MEMORY
    out: str | Path | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "queries", (self.queries,) if isinstance(self.queries, str) else tuple(self.queries))
        object.__setattr__(self, "image", (self.image,) if isinstance(self.image, str | Path) else tuple(self.image))
        if not self.queries and not self.image:
            raise UsageError('Say what to look for: structure search "a bear", or --image FILE.')
        require_texts(self.queries)
        for option, value, known in (("--to", self.to, TARGETS), ("--scores", self.scores, SCORES)):
            if value not in known:
                raise unknown(f"value of {option}", value, known)
        if self.k < 1:
            raise UsageError(f"-k {self.k} must be 1 or more.")
        _ = self.gallery  # raises for places that exclude each other
        if self.index is not None and (self.gallery != GalleryChoice() or self.scores != "cosine"):
            raise UsageError(
                f"--index {self.index} says what is searched, by cosine. Leave out --dataset, --split, --images and "
                "--scores."
            )

    @property
    def gallery(self) -> GalleryChoice:
        """What is searched."""
        return GalleryChoice(self.dataset, self.split, self.images)


def plan(request: SearchRequest, context: RunContext) -> tuple[WorkEstimate, ...]:
    """What has to be encoded and aligned before the search; writes nothing. Raises as `run` does, but for queries."""
    folder, subject = _opened(request, context)
    source = GallerySource(context, subject, save=False)
    if folder is not None:
        open_indexed(folder, source)
        size = folder.record.files[INDEX]["bytes"]
        return (WorkEstimate(f"{folder.path} (rows)", folder.record.rows, 0, 0, size, 0.0),)
    sides: list[Side] = ["vision", "text"] if request.to == "images" else ["text", "vision"]
    return source.plan(request.gallery, *sides[: 2 if request.scores == "csls" else 1])


def run(request: SearchRequest, context: RunContext) -> SearchResult:
    """Search. Only the queries are encoded, and data that are not in the store, once.

    Raises NotPresentError for an encoder or data that are not here, StructureError for what is not in the store.
    """
    began = time.perf_counter()
    folder, subject = _opened(request, context)
    source = GallerySource(context, subject)
    if folder is None:
        gallery = source.open(request.gallery, "vision" if request.to == "images" else "text")
    else:
        gallery = open_indexed(folder, source)
    queries = _encoded(request, context, subject)
    if folder is None:
        found, count = _search(request, context, source, gallery, queries), int(gallery.usable.sum())
    else:
        found, count = nearest_rows(folder, gallery, queries, request.k), folder.record.rows
        if len(gallery) > count:
            context.note(
                f"{len(gallery):,} rows are in the store and {count:,} in {folder.path}: the others are not searched. "
                f"Add them: structure index --append --out {folder.path}"
            )
    words = [*request.queries, *map(str, request.image)]
    rows = FoundRows(context, gallery)
    answers = tuple(QueryHits(word, hits) for word, hits in zip(words, rows.hits(found), strict=True))
    done = SearchResult(
        subject.name,
        gallery.splits[0].samples.dataset,
        request.to,
        request.scores,
        request.k,
        count,
        answers,
        source.features.passes,
        time.perf_counter() - began,
        "" if folder is None else str(folder.path),
    )
    if request.out is not None:
        images = range(len(request.queries), len(words))
        with whole_file(Path(request.out)) as partial:
            partial.write_text(found_page(done, rows, images=images), encoding="utf-8")
        context.note(f"page: {request.out}")
    return done


def _opened(request: SearchRequest, context: RunContext) -> tuple[IndexFolder | None, EvaluatedAligner]:
    """The index that is searched, and the aligner. Raises UsageError where they do not belong together."""
    if request.index is None:
        return None, EvaluatedAligner.of(context, request.aligner)
    folder = IndexFolder(request.index)
    record = folder.record
    if request.aligner not in (None, record.aligner):
        raise UsageError(f"--index {request.index} was made with the aligner {record.aligner}. Leave out --aligner.")
    if request.to != record.of:
        raise UsageError(f"--index {request.index} is an index of {record.of}. Write --to {record.of}.")
    return folder, EvaluatedAligner.of(context, record.aligner)


def _encoded(request: SearchRequest, context: RunContext, subject: EvaluatedAligner) -> np.ndarray:
    """(queries, dim) float32: words first, then image files."""
    parts = []
    if request.queries:
        parts.append(encode_texts(context, subject, request.queries))
    if request.image:
        parts.append(encode_images(context, subject, request.image))
    return np.concatenate(parts)


def _search(
    request: SearchRequest, context: RunContext, source: GallerySource, gallery: SplitGallery, queries: np.ndarray
) -> TopK:
    memory, device, usable = request.memory, context.resolved_device, gallery.usable
    if request.scores == "cosine":
        return top_k(queries, gallery, k=request.k, usable=usable, memory=memory, device=device)
    if request.images is not None:
        raise UsageError(
            "--scores csls compares each image with the texts of its dataset, and a folder has none. Leave it out."
        )
    others = source.open(request.gallery, "text" if request.to == "images" else "vision")
    numbers: dict[tuple[str, str], int] = {}
    samples, of_others = (
        np.array([numbers.setdefault(sample, len(numbers)) for sample in side.samples()]) for side in (gallery, others)
    )
    hubness = mean_nearest(
        gallery, others, samples=(samples, of_others), usable=others.usable, memory=memory, device=device
    )
    return csls_top_k(queries, gallery, hubness, k=request.k, usable=usable, memory=memory, device=device)


search = keyword_form(
    "search",
    SearchRequest,
    run,
    plan,
    about="Find the images or texts nearest to words or images, from cached features.",
)
