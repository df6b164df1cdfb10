"""What one aligner answered on one task, as metrics read it: the predictions table and what the task knows beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
import pyarrow as pa

from structure.store.errors import StructureError

if TYPE_CHECKING:
    from structure.pipeline.metrics.confusion_areas import Areas


@dataclass(frozen=True)
class Answers:
    """`table` has one row a query, as the predictions file keeps it. `clusters` (rows,) int says which rows are one
    unit, counted from 0; None where each row is a unit of its own. `groups` (units,) int says which units are not
    independent (images of one patient) and are resampled together; None where all are."""

    table: pa.Table
    clusters: np.ndarray | None = None
    groups: np.ndarray | None = field(default=None, kw_only=True)

    @property
    def units(self) -> int:
        """How many units there are: clusters, or rows."""
        return len(self.table) if self.clusters is None else int(self.clusters.max()) + 1

    @property
    def resampled(self) -> np.ndarray | None:
        """(rows,) int: the rows that a bootstrap draws together; None where it draws single rows."""
        if self.groups is None:
            return self.clusters
        return self.groups if self.clusters is None else self.groups[self.clusters]

    def column(self, name: str) -> np.ndarray:
        """(rows,) float64 numbers of a column."""
        return np.asarray(self.table[name].to_numpy(zero_copy_only=False), dtype=np.float64)

    def where(self, name: str, value: str) -> Self:
        """The rows whose column holds the value."""
        rows = np.flatnonzero(self.table[name].to_numpy(zero_copy_only=False) == value)
        table = self.table.take(pa.array(rows))
        if self.clusters is not None:
            return replace(self, table=table, clusters=self.clusters[rows])
        return replace(self, table=table, groups=None if self.groups is None else self.groups[rows])


@dataclass(frozen=True)
class ClassAnswers(Answers):
    """Classification and linear probe: `rank` of the true class from 0 among `classes`, `label_index`."""

    classes: int = 0


@dataclass(frozen=True)
class MultilabelAnswers(Answers):
    """`scores` (n, classes) and the class indices of every sample, `labels`, from the table."""

    @cached_property
    def scores(self) -> np.ndarray:
        """(n, classes) float64, higher = more likely."""
        flat = self.table["scores"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return np.asarray(flat, dtype=np.float64).reshape(len(self.table), -1)

    @cached_property
    def targets(self) -> np.ndarray:
        """(n, classes) int64 of 0 and 1."""
        targets = np.zeros(self.scores.shape, dtype=np.int64)
        for row, present in enumerate(self.table["labels"].to_pylist()):
            targets[row, present] = 1
        return targets


@dataclass(frozen=True)
class RetrievalAnswers(Answers):
    """Both directions: `of` = "image" for captions that look for their image, "text" for images; `rank` from 0 of the
    best right answer, `average_precision`. Clusters are the images. `whole` is what rows of one direction are of."""

    whole: RetrievalAnswers | None = None

    def where(self, name: str, value: str) -> Self:
        """The rows whose column holds the value, as rows of the whole; chosen once for all metrics."""
        if (name, value) not in self._chosen:
            self._chosen[name, value] = replace(super().where(name, value), whole=self.whole or self)
        return self._chosen[name, value]

    @cached_property
    def _chosen(self) -> dict[tuple[str, str], Self]:
        return {}

    @cached_property
    def captions(self) -> np.ndarray:
        """(images,) float64: captions of every image."""
        if self.whole is not None:
            return self.whole.captions
        owners = self.where("of", "image").clusters
        assert owners is not None
        return np.bincount(owners, minlength=self.units).astype(np.float64)


@dataclass(frozen=True)
class SelectionAnswers(Answers):
    """Groups of a few images and captions: hits per group; `images` and `captions` (groups,) are the groups' sizes."""

    images: np.ndarray | None = None
    captions: np.ndarray | None = None


@dataclass(frozen=True)
class SegmentationAnswers(Answers):
    """One row an image: `pixels` that count, `correct` ones, and per class `intersection` and `union` of truth and
    prediction, null for a class that is left out of the mean IoU (`without`). `areas` are the pixels per class."""

    areas: Areas | None = None
    without: Sequence[int] = ()

    def in_the_mean(self, name: str) -> np.ndarray:
        """(images, classes in the mean) float64 of a column that has a number a class."""
        flat = self.table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)  # null becomes NaN
        rows = np.asarray(flat, dtype=np.float64).reshape(len(self.table), -1)
        return rows[:, ~np.isnan(rows[0])]

    @property
    def counted(self) -> Areas:
        """The areas, which an evaluation has and a predictions file has not."""
        assert self.areas is not None
        return self.areas


def answers_of(table: pa.Table, groups: Mapping[str, str | None] | None = None) -> Answers:
    """The answers of a predictions table that was read back; the images of a retrieval are numbered by their ids.

    `groups` has a value for each sample id; samples with one value are not independent, None is shared with nobody.
    Raises StructureError for a sample that it does not have.
    """
    if "labels" in table.column_names:
        return MultilabelAnswers(table, groups=_numbered(table["sample"], groups))
    if "intersection" in table.column_names:
        return SegmentationAnswers(table, groups=_numbered(table["sample"], groups))
    if "of" not in table.column_names:
        return Answers(table, groups=_numbered(table["sample"], groups))
    names, images = np.unique(table["item"].to_numpy(zero_copy_only=False), return_inverse=True)
    return RetrievalAnswers(table, images, groups=_numbered(pa.array(names.tolist()), groups))


def _numbered(ids: pa.Array, groups: Mapping[str, str | None] | None) -> np.ndarray | None:
    """(ids,) int64: the group of each sample, counted from 0."""
    if groups is None:
        return None
    names = [str(one) for one in ids.to_pylist()]
    absent = [name for name in names if name not in groups]
    if absent:
        raise StructureError(
            f"{len(absent):,} of {len(names):,} answers are of no sample that has a group, the first is {absent[0]!r}. "
            "Leave out --group."
        )
    numbers: dict[tuple[str | None, str], int] = {}
    keys = [(groups[name], name if groups[name] is None else "") for name in names]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
