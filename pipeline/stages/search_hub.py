"""Search across several modalities that pairwise aligners bring together around one of them, the hub."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

import numpy as np

from structure.pipeline.aligners.aligner_names import aligner_names
from structure.pipeline.evaluation.evaluated_aligner import EvaluatedAligner
from structure.pipeline.inference.found_page import found_page
from structure.pipeline.inference.found_rows import FoundRows
from structure.pipeline.inference.gallery_sources import GalleryChoice
from structure.pipeline.inference.modality_hub import ModalityHub, Spoke, item_rows
from structure.pipeline.inference.queries import encode_images, encode_texts, require_texts
from structure.pipeline.inference.search_result import QueryHits, SearchResult
from structure.pipeline.inference.written_files import whole_file
from structure.pipeline.keyword_form import keyword_form
from structure.pipeline.run_context import RunContext
from structure.pipeline.similarity.knn.top_k import MEMORY, top_k
from structure.store.errors import UsageError

IMAGES = ("images", "image")
"""Other words for the modality vision."""


@dataclass(frozen=True)
class HubSearchRequest:
    """Find the samples of the modality `to` that are nearest to queries of any modality, through the hub.

    `aligners` are names in the store; each brings one modality together with `hub` ("text"). Queries are words, `image`
    files, or samples `item` of what is searched, by their rows of the modality `origin`. What is searched: a `dataset`
    of the store, one `split` of it; by default the one that the aligner of `to` was trained on; or the folder
    `images`, where `to` is images. `out` is a file for a page with thumbnails. Raises UsageError for aligners that do
    not meet in the hub.
    """

    aligners: Sequence[str]
    to: str
    _: KW_ONLY
    queries: Sequence[str] = ()
    image: Sequence[str | Path] = ()
    item: Sequence[str] = ()
    origin: str = ""
    hub: str = "text"
    dataset: str | None = None
    split: str | None = None
    images: str | Path | None = None
    k: int = 10
    memory: int = MEMORY
    out: str | Path | None = None

    def __post_init__(self) -> None:
        for name in ("to", "origin"):
            value = getattr(self, name)
            object.__setattr__(self, name, "vision" if value in IMAGES else value)
        if not self.queries and not self.image and not self.item:
            raise UsageError("Say what to look for: words, --image FILE, or --item ID --from MODALITY.")
        if bool(self.item) != bool(self.origin):
            raise UsageError("--item ID is a sample, and --from says which modality of it is the query. Give both.")
        if self.images is not None and self.to != "vision":
            raise UsageError(
                f"--images {self.images} is a folder of images, and --to {self.to} looks for something else. Write "
                "--to images, or name a --dataset of the store."
            )
        if self.images is not None and self.item and self.origin != "vision":
            raise UsageError(
                f"--item is a sample of what is searched, and a folder of images has no {self.origin}. Write --from "
                "vision, or search a --dataset of the store."
            )
        require_texts(self.queries)


def run(request: HubSearchRequest, context: RunContext) -> SearchResult:
    """Search. Raises NotPresentError for an encoder that is not here, StructureError for what is not in the store."""
    began, device = time.perf_counter(), context.resolved_device
    names = aligner_names(context.store, request.aligners)
    subjects = [EvaluatedAligner.load(context.store, name, device=device) for name in names]
    hub = ModalityHub(context, subjects, request.hub)
    choice = GalleryChoice(request.dataset, request.split, request.images)
    answers: list[QueryHits] = []
    searched, data = 0, ""
    rows: FoundRows | None = None
    for kind, words in (("text", request.queries), ("vision", request.image), (request.origin, request.item)):
        if not words:
            continue
        target = hub.target(request.to, kind)
        source = hub.source(kind, target)
        if words is request.item:
            vectors = item_rows(hub.gallery(source, choice), request.item)
        else:
            vectors = _encoded(context, source, words)
        gallery = hub.gallery(target, choice)
        queries = hub.carried(vectors, source, target)
        found = top_k(queries, gallery, k=request.k, usable=gallery.usable, memory=request.memory, device=device)
        rows = FoundRows(context, gallery)
        hits = rows.hits(found)
        answers += [QueryHits(str(word), one) for word, one in zip(words, hits, strict=True)]
        searched, data = int(gallery.usable.sum()), gallery.splits[0].samples.dataset
    done = SearchResult(
        " and ".join(names),
        data,
        request.to,
        "cosine",
        request.k,
        searched,
        tuple(answers),
        0,
        time.perf_counter() - began,
    )
    if request.out is not None and rows is not None:
        images = range(len(request.queries), len(request.queries) + len(request.image))
        with whole_file(Path(request.out)) as partial:
            partial.write_text(found_page(done, rows, images=images), encoding="utf-8")
        context.note(f"page: {request.out}")
    return done


def _encoded(context: RunContext, source: Spoke, words: Sequence[str | Path]) -> np.ndarray:
    """Words or image files by the encoder of their side."""
    if source.side == "text":
        return encode_texts(context, source.subject, list(map(str, words)))
    return encode_images(context, source.subject, words)


search_hub = keyword_form(
    "search_hub", HubSearchRequest, run, about="Search from any modality to any other, through the one in common."
)
