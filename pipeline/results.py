"""What an evaluation says: flat rows, each number with its interval, its count and the level of chance."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import pyarrow as pa

from structure.pipeline.owned_files import damaged
from structure.store import Store
from structure.store.errors import DamageError
from structure.store.files import Files, plain_name
from structure.store.fingerprint import fingerprint
from structure.store.sealed_tables import listed_beside, packed, unpacked
from structure.store.seals import Seal, SealError, is_sealed, read_listed

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
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "provenance"}

    def body(self) -> dict[str, Any]:
        """All fields as a JSON object."""
        return {**self.row(), "provenance": self.provenance}

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

    @property
    def owner(self) -> str:
        """Whom its predictions belong to: the run of the aligner and the samples that were asked about."""
        facts = self.provenance
        return fingerprint({"run": facts.get(RUN, ""), "samples": facts.get("samples"), "question": self.question})[:32]


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
        write_table(folder, FILE, pa.Table.from_pylist(rows), owner=str(results[0].provenance.get(RUN, "")))
    else:
        folder.remove(FILE)


def read_results(folder: Files, *, run: str) -> list[Result]:
    """The results saved in a folder of the aligner that the training `run` made; none where nothing was evaluated.
    Raises as `every_result`."""
    return [result for result in every_result(folder) if result.provenance.get(RUN, "") == run]


def every_result(folder: Files) -> list[Result]:
    """The results saved in a folder, those of an earlier aligner of the name among them. Raises DamageError where they
    are not what was written, or lie in the folder of another aligner."""
    try:
        rows = read_table(folder, FILE).to_pylist()
        return [Result(**{**row, "provenance": json.loads(row["provenance"])}) for row in rows]
    except FileNotFoundError:
        return []
    except (TypeError, ValueError, KeyError, RecursionError) as error:
        raise damaged(folder, FILE, SealError(f"does not read: {error}")) from None


def remove_results(store: Store, aligner: str) -> int:
    """Remove everything that was evaluated of an aligner, its comparisons too; returns how many numbers that were."""
    folder, comparisons = store.folder("results", aligner), store.folder(COMPARISONS)
    try:
        count = len(every_result(folder))
    except DamageError:
        count = 0  # nobody can say; they go
    folder.remove(FILE)  # first: it lists the others
    folder.remove_tree("")
    for key in comparisons.keys(""):
        if aligner in key.removesuffix(".json").split(".."):
            comparisons.remove(key)
    return count


def write_table(
    folder: Files, name: str, table: pa.Table, *, owner: str, beside: Mapping[str, str] | None = None
) -> None:
    """Write a Parquet file whole or not at all, with a seal; `beside` are the digests of files that belong to it."""
    folder.write(name, packed(table, Seal.of(folder, name, owner), beside=beside))


def read_table(folder: Files, name: str, *, owner: str | None = None) -> pa.Table:
    """Read back what `write_table` wrote; `owner` None takes that of any. Raises FileNotFoundError, DamageError where
    it is not what was written, or is the file of another place or owner."""
    try:
        return unpacked(folder.read(name), Seal.of(folder, name, owner or ""), any_owner=owner is None)
    except SealError as error:
        raise damaged(folder, name, error) from None


def read_predictions(folder: Files, result: Result) -> pa.Table | None:
    """A row for each sample of the question that a result answers, of the folder of its aligner; None where an earlier
    version saved none. Raises DamageError where they are missing, changed, or of another run or other samples."""
    name = f"predictions/{result.file}"
    try:
        return read_table(folder, name, owner=result.owner)
    except FileNotFoundError:
        if not is_sealed(folder.read(FILE)):
            return None
        raise damaged(folder, name, SealError("is missing, and its results are there")) from None


def require_predictions(folder: Files, result: Result) -> pa.Table:
    """As `read_predictions`. Raises DamageError where there are none."""
    table = read_predictions(folder, result)
    if table is None:
        raise damaged(folder, f"predictions/{result.file}", SealError("is missing, and its results are there"))
    return table


def read_beside(folder: Files, name: str, table: pa.Table | None) -> bytes | None:
    """A file that a table of the folder lists; None where it lists none of that name. Raises DamageError where it is
    missing or another."""
    try:
        return read_listed(folder, name, None if table is None else listed_beside(table))
    except SealError as error:
        raise damaged(folder, name, error) from None


def table_of(folder: Files, name: str, listed_in: pa.Table | None) -> pa.Table | None:
    """As `read_beside`, of a Parquet file."""
    data = read_beside(folder, name, listed_in)
    try:
        return None if data is None else unpacked(data)
    except SealError as error:
        raise damaged(folder, name, error) from None
