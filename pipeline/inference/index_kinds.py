"""Kinds of vector index: how each is made with faiss, and what trades its speed for recall."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from structure.pipeline.installed_package import install_command
from structure.store.errors import UsageError
from structure.store.without_warnings import without_warnings

PER_LIST = 64
"""Training rows of each list of an inverted file: faiss asks for 39 to 256."""

ITERATIONS = 10
"""Of k-means over them: what faiss does for an inverted file."""


def load_faiss() -> Any:
    """The module faiss. Raises UsageError where it is not installed."""
    try:
        with without_warnings():  # its wrapper's types have no __module__, of which Python warns
            import faiss
    except ImportError:
        raise UsageError(
            f"An index needs the package faiss-cpu, which is not installed. Run: {install_command('faiss-cpu')}"
        ) from None
    return faiss


class IndexKind(ABC):
    """One kind of index over unit rows by inner product.

    `effort` is what a search of it is told to spend (`effort_name`), chosen from `efforts`; both are empty where a
    search is exact. `bytes_per_row(dim)` is what a row takes, about.
    """

    name: ClassVar[str]
    meaning: ClassVar[str]
    effort_name: ClassVar[str] = ""

    @abstractmethod
    def make(self, dim: int, rows: int) -> Any:
        """An empty faiss index for about so many rows."""

    @abstractmethod
    def bytes_per_row(self, dim: int) -> int: ...

    def training_rows(self, rows: int) -> int:
        """How many of `rows` the index is trained on before they are added."""
        return 0

    def comparisons(self, rows: int) -> float:
        """Rows or centres that `rows` are compared with while the index is built, all together, up to a factor."""
        return 0.0

    def efforts(self, index: Any) -> Sequence[int]:
        """From the least to the most."""
        return ()

    def spend(self, index: Any, effort: int) -> None:
        """Have the searches of an index spend this; it is saved with the index."""
        setattr(index, self.effort_name, effort)


class Flat(IndexKind):
    name = "flat"
    meaning = "all rows are compared: exact"

    def make(self, dim: int, rows: int) -> Any:
        return load_faiss().IndexFlatIP(dim)

    def bytes_per_row(self, dim: int) -> int:
        return 4 * dim


class Graph(IndexKind):
    """HNSW (arXiv 1603.09320) over the stored float16 values."""

    name = "hnsw"
    meaning = "a graph of near rows is walked: fast, slow to build"
    effort_name = "efSearch"
    links = 32

    def make(self, dim: int, rows: int) -> Any:
        faiss = load_faiss()
        return faiss.IndexHNSWSQ(dim, faiss.ScalarQuantizer.QT_fp16, self.links, faiss.METRIC_INNER_PRODUCT)

    def bytes_per_row(self, dim: int) -> int:
        return 2 * dim + 4 * 2 * self.links + 16

    def comparisons(self, rows: int) -> float:
        return rows * math.log2(max(rows, 2))

    def efforts(self, index: Any) -> Sequence[int]:
        return [2**power for power in range(4, 12)]

    def spend(self, index: Any, effort: int) -> None:
        index.hnsw.efSearch = effort


class Lists(IndexKind):
    """An inverted file: rows in lists by the nearest of some centres, of which the nearest few are read."""

    name = "ivf"
    meaning = "only the lists of rows nearest to the query are compared: fast to build"
    effort_name = "nprobe"

    def make(self, dim: int, rows: int) -> Any:
        faiss = load_faiss()
        lists = self.lists(rows)
        index = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatIP(dim), dim, lists, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT, False
        )
        index.cp.spherical = True  # centres of unit rows, compared by inner product
        index.cp.min_points_per_centroid = 1  # it writes to stderr below 39, also where there is one list
        return index

    def lists(self, rows: int) -> int:
        """How many lists hold so many rows."""
        return max(1, min(int(2 * math.sqrt(rows)), rows // PER_LIST))

    def bytes_per_row(self, dim: int) -> int:
        return 2 * dim + 8

    def comparisons(self, rows: int) -> float:
        return float(self.lists(rows) * (rows + ITERATIONS * self.training_rows(rows)))

    def training_rows(self, rows: int) -> int:
        return min(rows, PER_LIST * int(2 * math.sqrt(rows)) + PER_LIST)

    def efforts(self, index: Any) -> Sequence[int]:
        return sorted({min(2**power, index.nlist) for power in range(13)})


KINDS: dict[str, IndexKind] = {kind.name: kind for kind in (Flat(), Graph(), Lists())}
"""By the value of `--kind`."""
DEFAULT_KIND = Graph.name
