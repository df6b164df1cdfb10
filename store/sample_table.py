"""The sample index of a dataset split: which sample and which caption every feature row belongs to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from structure.store.arrow_arrays import equal_to, integers, joined, joined_chunks, numpy_of, string_bytes, strings
from structure.store.chunk import crc32c
from structure.store.errors import DamageError, FingerprintError, StructureError
from structure.store.files import Files
from structure.store.manifest import RowKind
from structure.store.sample_columns import BATCH_ROWS, SampleColumns

_BASE = pa.schema(
    [
        ("sample", pa.string()),
        ("item", pa.string()),
        ("caption_index", pa.int32()),
        ("text", pa.string()),
        ("digest", pa.string()),
        ("stamp", pa.string()),
    ]
)


WITHDRAWN = "withdrawn"
"""The digest of a sample that was withdrawn, and the reason why its rows are skipped."""


def withdrawn_id(item: str) -> str:
    """What a sample is called once it is withdrawn: the same sample is known again by it, its id is not told."""
    return f"{WITHDRAWN}.{hashlib.sha256(item.encode(errors='surrogatepass')).hexdigest()[:24]}"


@dataclass(frozen=True)
class SampleItem:
    """One sample as the table keeps it. `digest` is the content digest of its image ("" without one), `stamp` a cheap
    mark of change; `labels` maps a task to a class index or to several. Of a sample with the digest `WITHDRAWN` only
    the number of its captions is kept."""

    id: str
    captions: tuple[str, ...] = ()
    digest: str = ""
    stamp: str = ""
    labels: Mapping[str, int | tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Samples:
    """An Arrow table with one row per caption (one row with `caption_index` -1 for a sample without captions), samples
    in dataset order. Columns: sample, item, caption_index, text, digest, stamp, and `label` or `label.<task>` per task.

    `columns` are in memory, or in the file that they were written to: what is not asked for is not read.
    `tasks` maps a task to its `{"classes": [...], "templates": [...], "source": ...}`; `kind` is the dataset's.
    """

    dataset: str
    split: str
    columns: pa.Table | SampleColumns
    tasks: Mapping[str, Mapping[str, Any]]
    kind: str = "retrieval"

    @classmethod
    def build(
        cls,
        dataset: str,
        split: str,
        items: Iterable[SampleItem],
        *,
        tasks: Mapping[str, Mapping[str, Any]] | None = None,
        kind: str = "retrieval",
    ) -> Samples:
        """Make the table. Raises StructureError for no sample, a repeated id, or a sample with an empty caption."""
        columns: dict[str, list[Any]] = {name: [] for name in _BASE.names}
        labels: dict[str, list[Any]] = {task: [] for task in tasks or {}}
        first: dict[str, int] = {}
        for position, item in enumerate(items):
            if item.id in first:
                raise StructureError(
                    f"{dataset}/{split}: the id {item.id!r} is used by sample {first[item.id]} and by sample "
                    f"{position}. "
                    "Ids must be unique, or rows could not be told apart. Give each sample its own id."
                )
            first[item.id] = position
            for index, text in enumerate(item.captions or (None,)):
                withdrawn = item.digest == WITHDRAWN
                if text is not None and not withdrawn and not text.strip():
                    raise StructureError(f"{dataset}/{split}: caption {index} of sample {item.id!r} is empty.")
                columns["sample"].append(item.id if text is None else f"{item.id}#{index}")
                columns["item"].append(item.id)
                columns["caption_index"].append(-1 if text is None else index)
                columns["text"].append(None if withdrawn else text)
                columns["digest"].append(item.digest)
                columns["stamp"].append(item.stamp)
                for task, values in labels.items():
                    value = item.labels.get(task)
                    values.append(list(value) if isinstance(value, tuple) else value)
        if not first:
            raise StructureError(f"{dataset}/{split} has no sample.")
        arrays = [pa.array(columns[name], type=type_) for name, type_ in zip(_BASE.names, _BASE.types, strict=True)]
        names = list(_BASE.names)
        for task, values in labels.items():
            many = any(isinstance(value, list) for value in values)
            arrays.append(pa.array(values, type=pa.list_(pa.int32()) if many else pa.int32()))
            names.append(label_column(task))
        return cls(dataset, split, pa.table(arrays, names=names), dict(tasks or {}), kind)

    @classmethod
    def of_ids(cls, dataset: str, split: str, ids: pa.Array) -> Samples:
        """The table of samples of which nothing but the ids, n different texts, is known: what `build` makes of
        `SampleItem(id)` of each."""
        nothing = pa.repeat(strings([""])[0], len(ids))
        index = pa.repeat(integers(np.array([-1]))[0], len(ids)).cast(pa.int32())
        arrays = [ids, ids, index, pa.nulls(len(ids), pa.string()), nothing, nothing]
        return cls(dataset, split, pa.table(arrays, schema=_BASE), {})

    # -- samples and captions ---------------------------------------------------------------------------------------

    @property
    def table(self) -> pa.Table:
        """All columns in memory."""
        return self.columns if isinstance(self.columns, pa.Table) else self.columns.table()

    @property
    def column_names(self) -> list[str]:
        return list(self.columns.column_names)

    def column(self, name: str) -> pa.ChunkedArray:
        """A column, one value a row of the table. Raises KeyError."""
        return self.columns.column(name)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.first_rows)

    @cached_property
    def first_rows(self) -> np.ndarray:
        """(samples,) table row of each sample's first caption."""
        return np.flatnonzero(self._caption_index <= 0)

    @cached_property
    def _caption_index(self) -> np.ndarray:
        """(rows,) int32."""
        return numpy_of(self.column("caption_index"))

    def values(self, column: str, samples: np.ndarray | None = None) -> list[Any]:
        """A column's values in the first row of each sample, or of the samples of these numbers."""
        if samples is not None:
            return self._chosen(column, self.first_rows[samples])
        values: list[Any] = self.column(column).to_pylist()
        return values if len(self.first_rows) == len(values) else [values[row] for row in self.first_rows.tolist()]

    def _chosen(self, column: str, rows: np.ndarray) -> list[Any]:
        """A column's values in these rows of the table, of which nothing else is kept."""
        if np.any(rows[1:] < rows[:-1]):
            order = np.argsort(rows, kind="stable")
            values: list[Any] = [None] * len(rows)
            for place, value in zip(order.tolist(), self._chosen(column, rows[order]), strict=True):
                values[place] = value
            return values
        found, start = list[Any](), 0
        for batch in self._batches(column):
            low, high = np.searchsorted(rows, (start, start + len(batch)))
            found += batch[column].take(integers(rows[low:high] - start)).to_pylist()
            start += len(batch)
        return found

    def read_through(self) -> None:
        """Read every column and keep none. Raises DamageError where one does not read."""
        for _ in self._batches(*self.column_names):
            pass

    def _batches(self, *columns: str) -> Iterator[pa.RecordBatch]:
        """Some columns in parts."""
        if isinstance(self.columns, pa.Table):
            return iter(self.columns.select(list(columns)).to_batches(BATCH_ROWS))
        return self.columns.batches(columns)

    @property
    def item_ids(self) -> list[str]:
        """Ids of the samples, in order."""
        return self.values("item")

    @property
    def digests(self) -> dict[str, tuple[str, str]]:
        """Sample id -> (stamp, digest): what was read last time."""
        columns = (self.values(name) for name in ("item", "stamp", "digest"))
        return {item: (stamp, digest) for item, stamp, digest in zip(*columns, strict=True)}

    @cached_property
    def is_withdrawn(self) -> np.ndarray:
        """(samples,) bool: the sample was withdrawn; nothing but its place is kept."""
        rows = [numpy_of(equal_to(batch["digest"], WITHDRAWN)) for batch in self._batches("digest")]
        found: np.ndarray = np.concatenate(rows).astype(bool)[self.first_rows]
        return found

    def without(self, items: Collection[str]) -> Samples:
        """The same places with these samples withdrawn: their ids become `withdrawn_id`, their texts, digests, stamps
        and labels are gone."""
        rows = self.table.to_pylist()
        for row in rows:
            if row["item"] in items:
                number, caption = row["caption_index"], row["sample"].removeprefix(row["item"])
                name = withdrawn_id(row["item"])
                row.update(dict.fromkeys(row))
                row |= {"sample": f"{name}{caption}", "item": name, "caption_index": number}
                row |= {"digest": WITHDRAWN, "stamp": ""}
        return replace(self, columns=pa.Table.from_pylist(rows, self.columns.schema.remove_metadata()))

    @property
    def first_texts(self) -> list[str | None]:
        """The first caption of each sample; None where it has none."""
        return self.values("text")

    def labels(self, task: str) -> np.ndarray:
        """(samples,) int64 class indices, -1 where the sample has no label of this task. Raises KeyError."""
        column = self.column(label_column(task)).take(integers(self.first_rows))
        return np.asarray(column.fill_null(-1).to_numpy(), dtype=np.int64)

    def label_sets(self, task: str) -> list[list[int]]:
        """Class indices of each sample of a multi-label task."""
        return [value or [] for value in self.values(label_column(task))]

    def caption_rows(self, limit: int | None = None) -> np.ndarray:
        """Table rows of the captions with index below `limit` (None = all)."""
        index = self._caption_index
        return np.flatnonzero((index >= 0) & (index < (len(index) if limit is None else limit)))

    def texts(self, limit: int | None = None) -> list[str]:
        """Captions in row order; "" of a withdrawn sample."""
        texts = self.column("text").take(integers(self.caption_rows(limit))).to_pylist()
        return [text or "" for text in texts]

    def row_count(self, rows_of: RowKind, limit: int | None = None, views: int = 1) -> int:
        """How many rows `row_ids` names."""
        return len(self) * views if rows_of == "items" else len(self.caption_rows(limit))

    def row_ids(self, rows_of: RowKind, limit: int | None = None, views: int = 1) -> list[str]:
        """Sample ids of feature rows: sample ids for samples, `<item>#<caption>` for captions.

        With several views a sample has its own id and `<item>#view<n>` for its augmented views.
        """
        return list(self.row_id_array(rows_of, limit, views).to_pylist())

    def row_id_array(self, rows_of: RowKind, limit: int | None = None, views: int = 1) -> pa.Array:
        """`row_ids` as Arrow's texts, which take a tenth of the memory."""
        if rows_of != "items":
            return joined_chunks(self.column("sample").take(integers(self.caption_rows(limit))))
        items = self.column("item")
        if views == 1:
            whole = len(self.first_rows) == len(items)
            return joined_chunks(items if whole else items.take(integers(self.first_rows)))
        names = joined_chunks(items.take(integers(np.repeat(self.first_rows, views))))
        endings = strings([f"#view{view}" if view else "" for view in range(views)])
        return joined(names, endings.take(integers(np.arange(len(names)) % views)))

    def item_of_caption(self, limit: int | None = None) -> np.ndarray:
        """(captions,) index of the sample that each caption row describes."""
        of_row = np.cumsum(self._caption_index <= 0) - 1
        return np.asarray(of_row[self.caption_rows(limit)], dtype=np.int64)

    def item_of_row(self, rows_of: RowKind, limit: int | None = None, views: int = 1) -> np.ndarray:
        """(rows,) index of the sample that each feature row is of; the rows are those of `row_ids`."""
        return np.repeat(np.arange(len(self)), views) if rows_of == "items" else self.item_of_caption(limit)

    def digest(self, rows_of: RowKind, limit: int | None = None, *, rows: int | None = None) -> str:
        """Hex SHA-256 of what the rows (the first `rows` of them) are made from: ids and image digests, or ids and
        texts."""
        names = ("item", "digest") if rows_of == "items" else ("sample", "text")
        chosen = (self.first_rows if rows_of == "items" else self.caption_rows(limit))[:rows]
        digest, start = hashlib.sha256(), 0
        for batch in self._batches(*names):
            low, high = np.searchsorted(chosen, (start, start + len(batch)))
            here, content = batch.take(integers(chosen[low:high] - start)).columns
            pairs = joined(here, content, by="\0")
            if low and low < high:
                digest.update(b"\1")
            text = string_bytes(joined(pairs, "", by="\1"))[1]
            digest.update(text[:-1].data)
            start += len(batch)
        return digest.hexdigest()

    def extends(self, stored: Samples) -> bool:
        """Whether these are the stored samples, unchanged and in their order, followed by new ones."""
        for what in ("items", "captions"):
            theirs = _described(stored, what)
            if _described(self, what)[: len(theirs)] != theirs:
                return False
        return len(self) > len(stored)

    # -- files ----------------------------------------------------------------------------------------------------

    @staticmethod
    def file(dataset: str, split: str) -> str:
        """Key of the Parquet file in the store."""
        return f"samples/{dataset}/{split}.parquet"

    def write(self, files: Files) -> None:
        """Write the table, replacing it in one step."""
        meta = {"dataset": self.dataset, "split": self.split, "tasks": self.tasks, "kind": self.kind}
        table = self.table.replace_schema_metadata({"structure": json.dumps(meta, sort_keys=True)})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
        data = memoryview(sink.getvalue())
        key = self.file(self.dataset, self.split)
        # Old and new checksum are both good until the new file is in place, so that a crash leaves a table that reads.
        checksum = f"{crc32c(data):08x}"
        files.write(f"{key}.crc32c", " ".join([*(earlier := _checksums(files, key)), checksum]).encode())
        files.write(key, data)
        if earlier:
            files.write(f"{key}.crc32c", checksum.encode())

    @classmethod
    def checksum(cls, files: Files, dataset: str, split: str) -> str:
        """CRC-32C on record of the table's file; "" where there is none."""
        return " ".join(_checksums(files, cls.file(dataset, split)))

    @classmethod
    def kind_of(cls, files: Files, dataset: str, split: str) -> str:
        """The `kind` on record, from the table's metadata alone; "" where there is no table, it does not read or it
        is that of another split."""
        try:
            schema = pq.read_schema(pa.BufferReader(files.read(cls.file(dataset, split))))
            meta = json.loads(schema.metadata[b"structure"])
            return str(meta["kind"]) if (meta["dataset"], meta["split"]) == (dataset, split) else ""
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError):
            return ""

    @classmethod
    def read(cls, files: Files, dataset: str, split: str) -> Samples:
        """Open the table. Raises FileNotFoundError, or DamageError where the file is not what was written."""
        key = cls.file(dataset, split)
        data = files.read(key)
        if f"{crc32c(memoryview(data)):08x}" not in _checksums(files, key):
            raise DamageError(f"{key} or its checksum file is not what was written.")
        try:
            columns = SampleColumns(data, key=key)
            meta = json.loads(columns.schema.metadata[b"structure"])
            lacking = [name for name in _BASE.names if name not in columns.column_names]
            if lacking:
                raise ValueError(f"it has no column {lacking[0]}")
            if (meta["dataset"], meta["split"]) != (dataset, split):
                raise ValueError(f"it is that of {meta['dataset']}/{meta['split']}")
            return cls(dataset, split, columns, meta["tasks"], meta["kind"])
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
            raise DamageError(f"{key} does not read: {error}.") from None

    def require_same(self, stored: Samples) -> None:
        """Refuse rows that are not those of an earlier extraction. Raises FingerprintError, naming the first change."""
        if self.extends(stored):
            raise FingerprintError(
                f"The dataset {self.dataset}/{self.split} has grown since it was extracted, from {len(stored):,} to "
                f"{len(self):,} samples. Extract them with --append to take in the new ones, or choose "
                "another --store."
            )
        for what, ours, theirs in (
            ("samples", _described(self, "items"), _described(stored, "items")),
            ("captions", _described(self, "captions"), _described(stored, "captions")),
        ):
            if ours == theirs:
                continue
            position = next((i for i, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), None)
            if position is None:
                change = f"it had {len(theirs):,} {what} and has {len(ours):,} now"
            else:
                changed = sum(a != b for a, b in zip(ours, theirs, strict=False)) + abs(len(ours) - len(theirs))
                change = (
                    f"{changed:,} {what} differ, the first is {ours[position][0]!r} (stored: {theirs[position][0]!r})"
                )
            raise FingerprintError(
                f"The dataset {self.dataset}/{self.split} changed since it was extracted: {change}. "
                "Rows of old and new features would not match. Restore the data, or choose another --store."
            )


def label_column(task: str) -> str:
    """Name of a task's column: `label`, or `label.<task>`."""
    return "label" if task == "label" else f"label.{task}"


def _checksums(files: Files, key: str) -> list[str]:
    try:
        return files.read(f"{key}.crc32c").decode("ascii", "replace").split()
    except FileNotFoundError:
        return []


def _described(samples: Samples, what: str) -> Sequence[tuple[str, str]]:
    if what == "items":
        return [(item, digest) for item, (_, digest) in samples.digests.items()]
    return list(zip(samples.row_ids("captions"), samples.texts(), strict=True))
