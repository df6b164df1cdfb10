"""Index: a faiss index of aligned embeddings, with its recall against exact search."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import KW_ONLY, asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from structure.pipeline.evaluation.evaluated_aligner import EvaluatedAligner
from structure.pipeline.inference.aligned_embeddings import Side
from structure.pipeline.inference.gallery import SplitGallery
from structure.pipeline.inference.gallery_sources import GalleryChoice, GallerySource, chosen_data
from structure.pipeline.inference.index_building import add_rows, measure, spread, values_of
from structure.pipeline.inference.index_folder import INDEX, ROWS, IndexFolder, write_index
from structure.pipeline.inference.index_kinds import DEFAULT_KIND, KINDS, IndexKind, load_faiss
from structure.pipeline.inference.index_rows import indexed_rows, require_order, require_same, rows_table
from structure.pipeline.installed_package import NAME
from structure.pipeline.keyword_form import keyword_form
from structure.pipeline.run_context import RunContext
from structure.pipeline.work_estimate import WorkEstimate
from structure.store.errors import StructureError, UsageError, unknown

RECALL = 0.95
"""Recall@10 that the effort of a search is chosen for."""


@dataclass(frozen=True)
class IndexRequest:
    """Make a faiss index of the aligned embeddings of a dataset, and measure its recall@10 against exact search.

    `dataset` is one of the store or of any kind, or a folder of images, with one `split` of it; by default the one that
    the aligner was trained on. `of`: "images" or "text" (captions). `out` is a new folder: `index.faiss`,
    `rows.parquet`, `index.json`. With `append` it is there, and rows that are not in it are added; `dataset`, `split`,
    `kind`, `of` and `aligner` are then its own. `kind`: "flat", "hnsw" (the default) or "ivf"; its searches spend the
    least effort that reaches `recall`. Raises StructureError for names that do not exist (the nearest are offered),
    UsageError without faiss.
    """

    dataset: str | Path | None = None
    _: KW_ONLY
    out: str | Path
    kind: str | None = None
    of: Literal["images", "text"] | None = None
    aligner: str | None = None
    split: str | None = None
    append: bool = False
    recall: float = RECALL

    def __post_init__(self) -> None:
        if self.kind is not None and self.kind not in KINDS:
            raise unknown("value of --kind", self.kind, KINDS)
        if self.of not in (None, "images", "text"):
            raise unknown("value of --of", str(self.of), ("images", "text"))
        if not 0 < self.recall <= 1:
            raise UsageError(f"--recall {self.recall:g} must be above 0 and at most 1.")
        if self.append and self.dataset is not None:
            raise UsageError(f"--append adds the new rows of what {self.out} is an index of. Leave out --dataset.")


@dataclass(frozen=True)
class IndexResult:
    """The index: `rows` rows of width `dim` in the folder `out`, `added` of them now; `effort` is what a search spends,
    as `effort_name`; `recall` as of `IndexRecall`."""

    aligner: str
    dataset: str
    of: str
    kind: str
    rows: int
    added: int
    dim: int
    effort_name: str
    effort: int | None
    recall: Mapping[str, Any]
    bytes: int
    out: str
    encoder_passes: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The document of `structure index --json`."""
        return asdict(self)


@dataclass(frozen=True)
class _Work:
    """What a request comes to: the index that is there, the kind, and where its rows come from."""

    folder: IndexFolder | None
    kind: IndexKind
    of: Literal["images", "text"]
    source: GallerySource
    choice: GalleryChoice

    @property
    def side(self) -> Side:
        return "vision" if self.of == "images" else "text"

    @property
    def subject(self) -> EvaluatedAligner:
        return self.source.subject


def plan(request: IndexRequest, context: RunContext) -> tuple[WorkEstimate, ...]:
    """What has to be encoded, aligned and indexed; writes nothing. Raises as `run` does."""
    work = _work(request, context, save=False)
    parts = work.source.plan(work.choice, work.side)
    rows = sum(part.rows for part in parts[1::2])
    there = 0 if work.folder is None else work.folder.record.rows
    size = rows * work.kind.bytes_per_row(work.subject.aligner.dim)
    index = WorkEstimate(f"{Path(request.out) / INDEX} (rows)", rows, max(rows - there, 0), size, size, None)
    return (*parts, index)


def run(request: IndexRequest, context: RunContext) -> IndexResult:
    """Make the index, or add to it. Raises NotPresentError for an encoder or data that are not here, FingerprintError
    where an index that should grow is of something else, StructureError for what is not there."""
    began = time.perf_counter()
    work = _work(request, context, save=True)
    gallery, folder, listen = work.source.open(work.choice, work.side), work.folder, context.on_event
    old, index = np.empty(0, dtype=np.int64), None
    if folder is not None:
        folder.require_unchanged()
        require_same(folder, gallery)
        require_order(folder, gallery)
        old, index = indexed_rows(folder, gallery), folder.index
    new = np.setdiff1d(np.flatnonzero(gallery.usable), old)
    if not len(new) and not len(old):
        raise StructureError(f"{gallery.splits[0].name} has no row that could be read: there is nothing to index.")
    index = add_rows(work.kind, index, gallery, new, listen) if len(new) else index
    rows = np.concatenate([old, new])
    queries, are = _queries(work, gallery, rows)
    effort, recall = measure(work.kind, index, gallery, rows, queries, are=are, target=request.recall)
    table = rows_table(context, gallery, new)
    record = write_index(
        Path(request.out).expanduser(),
        index,
        table if folder is None else pa.concat_tables([folder.table, table]),
        _facts(work, gallery, rows, effort, recall.to_json()),
    )
    return IndexResult(
        record.aligner,
        record.dataset,
        record.of,
        record.kind,
        record.rows,
        len(new),
        record.dim,
        work.kind.effort_name,
        effort,
        record.recall,
        record.files[INDEX]["bytes"],
        str(request.out),
        work.source.features.passes,
        time.perf_counter() - began,
    )


def _work(request: IndexRequest, context: RunContext, *, save: bool) -> _Work:
    load_faiss()
    out = Path(request.out).expanduser()
    if not request.append:
        if out.exists() and not _is_free(out):
            raise StructureError(
                f"{out} is there and not empty. Add new rows to its index with --append, or choose another folder."
            )
        subject = EvaluatedAligner.of(context, request.aligner)
        choice = GalleryChoice(split=request.split)
        if request.dataset is not None:
            choice = chosen_data(context.store, request.dataset, request.split)
        kind = KINDS[request.kind or DEFAULT_KIND]
        return _Work(None, kind, request.of or "images", GallerySource(context, subject, save=save), choice)
    folder = IndexFolder(out)
    record = folder.record
    asked = {"--aligner": request.aligner, "--kind": request.kind, "--of": request.of, "--split": request.split}
    theirs = {"--aligner": record.aligner, "--kind": record.kind, "--of": record.of, "--split": record.split}
    for option, value in asked.items():
        if value is not None and value != theirs[option]:
            raise UsageError(
                f"{option} {value}: {out} is an index with {option} {theirs[option] or '(all)'}. Leave it out, or make "
                "another index without --append."
            )
    source = GallerySource(context, EvaluatedAligner.of(context, record.aligner), save=save)
    choice = GalleryChoice(record.dataset, record.split)
    if record.folder is not None:
        choice = GalleryChoice(folder=record.folder)
    return _Work(folder, KINDS[record.kind], record.of, source, choice)


def _is_free(out: Path) -> bool:
    """Whether a folder is empty but for what a run that was stopped left in it."""
    return out.is_dir() and all(file.name in (INDEX, ROWS) or file.suffix == ".part" for file in out.iterdir())


def _queries(work: _Work, gallery: SplitGallery, rows: np.ndarray) -> tuple[np.ndarray, str]:
    """Queries to measure with, and what they are: the other side of the dataset where it is in the store, else rows of
    the index."""
    others = None
    if work.choice.folder is None:
        others = work.source.open_stored(work.choice, "text" if work.side == "vision" else "vision")
    if others is None or not others.usable.any():
        return values_of(gallery, spread(rows)), "rows of the index"
    are = "captions" if work.side == "vision" else "images"
    return values_of(others, spread(np.flatnonzero(others.usable))), f"{are} of the dataset"


def _facts(
    work: _Work, gallery: SplitGallery, rows: np.ndarray, effort: int | None, recall: Mapping[str, Any]
) -> dict[str, Any]:
    """The fields of the record but `files`."""
    manifests = [split.aligned.manifest for split in gallery.splits]
    alignment = manifests[0].identity["alignment"]
    return {
        "aligner": work.subject.name,
        "alignment": {name: alignment[name] for name in ("run", "weights")},
        "of": work.of,
        "dataset": manifests[0].dataset,
        "split": work.choice.split,
        "folder": None if work.choice.folder is None else str(Path(work.choice.folder).absolute()),
        "kind": work.kind.name,
        "rows": len(rows),
        "dim": gallery.shape[1],
        "splits": [manifest.body() for manifest in manifests],
        "effort": effort,
        "recall": recall,
        "made_with": {NAME: version(NAME), "faiss": load_faiss().__version__},
    }


index = keyword_form(
    "index", IndexRequest, run, plan, about="Make a faiss index of aligned embeddings, or add new rows to one."
)
