"""What an evaluation says: flat rows, each number with its interval, its count and the level of chance."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from structure.store.files import Files, plain_name

FILE = "results.parquet"


@dataclass(frozen=True)
class Result:
    """One number. Values are fractions, not percent (a median rank counts from 1); `low` and `high` bound the 95 %
    interval; `n` counts the resampled units (samples, images, classes).

    `chance` is the expected value of a random guess, None where it has no closed form.
    `provenance` holds what the number was made from (prompt set and its digest, split, protocol, fingerprints).
    """

    aligner: str
    suite: str
    dataset: str
    task: str
    metric: str
    value: float
    low: float
    high: float
    n: int
    chance: float | None
    provenance: dict[str, Any]

    def row(self) -> dict[str, Any]:
        """The flat fields as a JSON object, without provenance."""
        flat = asdict(self)
        flat.pop("provenance")
        return flat


COUNTED = ("classes_without_samples", "unlabelled", "unreadable", "without_caption")
"""What a provenance may count of the data that took no part."""


def notes_of(results: Sequence[Result]) -> list[str]:
    """A sentence for every dataset of which something took no part: `wds/pets: 2 classes without samples`."""
    told = {
        result.dataset: ", ".join(
            f"{result.provenance[name]:,} {name.replace('_', ' ')}" for name in COUNTED if result.provenance.get(name)
        )
        for result in results
    }
    return [f"{dataset}: {counts}" for dataset, counts in told.items() if counts]


def predictions_file(suite: str, dataset: str, task: str) -> str:
    """Path of a task's per-sample table, relative to the aligner's results; `confusion/` has the same below it."""
    return f"{plain_name(suite)}/{plain_name(f'{dataset}_{task}')}.parquet"


def keep_results(folder: Files, results: Sequence[Result]) -> None:
    """Keep results in the folder's Parquet file, in place of earlier ones of the same suite, dataset and task."""
    done = {(result.suite, result.dataset, result.task) for result in results}
    kept = [result for result in read_results(folder) if (result.suite, result.dataset, result.task) not in done]
    rows = [
        {**result.row(), "provenance": json.dumps(result.provenance, sort_keys=True)} for result in [*kept, *results]
    ]
    write_table(folder, FILE, pa.Table.from_pylist(rows))


def read_results(folder: Files) -> list[Result]:
    """Every result saved in a folder; none where nothing was evaluated."""
    try:
        rows = read_table(folder, FILE).to_pylist()
    except FileNotFoundError:
        return []
    return [Result(**{**row, "provenance": json.loads(row["provenance"])}) for row in rows]


def write_table(folder: Files, name: str, table: pa.Table) -> None:
    """Write a Parquet file whole or not at all."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    folder.write(name, memoryview(sink.getvalue()))


def read_table(folder: Files, name: str) -> pa.Table:
    """Read back what `write_table` wrote. Raises FileNotFoundError."""
    return pq.read_table(pa.BufferReader(folder.read(name)))
