"""What an evaluation says: flat rows, each number with its interval, its count and the level of chance."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from structure.store import Store
from structure.store.files import Files, plain_name

FILE = "results.parquet"
RUN = "aligner_run"
"""What a provenance calls the training run that made the aligner: results count for an aligner of that run alone."""
ASKED = "asked"
"""What a provenance calls the options by which an evaluation is asked for again: `--suite my.yaml`."""
COMPARISONS = "comparisons"
"""The store's folder with the newest comparison of every two aligners, for the report."""


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

    def shown(self) -> dict[str, Any]:
        """The flat fields with the split and the prompt set, which tell apart numbers of one dataset and metric."""
        return {**self.row(), "split": self.provenance.get("split"), "prompts": self.provenance.get("prompt_set")}

    @property
    def question(self) -> tuple[str, ...]:
        """What was asked: suite, dataset, task, split, and the digest of the prompts ("" where there are none)."""
        facts = self.provenance
        return (self.suite, self.dataset, self.task, facts.get("split", ""), facts.get("prompts_digest", ""))

    @property
    def file(self) -> str:
        """Path of the question's table below `predictions/`, `confusion/` and `examples/` of the aligner's results."""
        return str(self.provenance.get("file") or predictions_file(self.suite, self.dataset, self.task))


HELD_OUT = "held-out pairs"
"""The task of what a training measures on pairs that it does not train on."""
TEST_PREDICTIONS = "test.parquet"
"""The file of an aligner with the ranks of its test pairs, a row a query as evaluations save them."""

COUNTED = ("classes_without_samples", "unlabelled", "unreadable", "withdrawn", "without_caption")
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
    """Keep results in the folder's Parquet file, in place of earlier ones of the same question."""
    done = {result.question for result in results}
    kept = [result for result in every_result(folder) if result.question not in done]
    write_results(folder, [*kept, *results])


def write_results(folder: Files, results: Sequence[Result]) -> None:
    """Write the folder's Parquet file; without results there is none."""
    rows = [{**result.row(), "provenance": json.dumps(result.provenance, sort_keys=True)} for result in results]
    if rows:
        write_table(folder, FILE, pa.Table.from_pylist(rows))
    else:
        folder.remove(FILE)


def read_results(folder: Files, *, run: str) -> list[Result]:
    """The results saved in a folder of the aligner that the training `run` made; none where nothing was evaluated."""
    return [result for result in every_result(folder) if result.provenance.get(RUN, "") == run]


def every_result(folder: Files) -> list[Result]:
    """The results saved in a folder, those of an earlier aligner of the name among them."""
    try:
        rows = read_table(folder, FILE).to_pylist()
    except FileNotFoundError:
        return []
    return [Result(**{**row, "provenance": json.loads(row["provenance"])}) for row in rows]


def remove_results(store: Store, aligner: str) -> int:
    """Remove everything that was evaluated of an aligner, its comparisons too; returns how many numbers that were."""
    folder, comparisons = store.folder("results", aligner), store.folder(COMPARISONS)
    count = len(every_result(folder))
    folder.remove_tree("")
    for key in comparisons.keys(""):
        if aligner in key.removesuffix(".json").split(".."):
            comparisons.remove(key)
    return count


def write_table(folder: Files, name: str, table: pa.Table) -> None:
    """Write a Parquet file whole or not at all."""
    folder.write(name, packed(table))


def packed(table: pa.Table) -> bytes:
    """The content of a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return bytes(memoryview(sink.getvalue()))


def read_table(folder: Files, name: str) -> pa.Table:
    """Read back what `write_table` wrote. Raises FileNotFoundError."""
    return pq.read_table(pa.BufferReader(folder.read(name)))
