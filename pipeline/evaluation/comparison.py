"""Two aligners compared on every task that both were evaluated on, sample by sample."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from structure.pipeline.aligners.aligner_runs import RECORD, aligner_record, run_of
from structure.pipeline.metrics.paired_comparison import Pairing
from structure.pipeline.metrics.registry import METRICS, metric_named, pattern_of
from structure.pipeline.pairing.sample_groups import group_values
from structure.pipeline.results import COMPARISONS, Result, read_results, require_predictions
from structure.pipeline.strict_json import strict
from structure.store import Store
from structure.store.errors import StructureError
from structure.store.seals import Seal

SAME = ("dataset_spec", "split", "prompts_digest", "captions")
"""What must be equal in both records, or the two numbers answer different questions."""


@dataclass(frozen=True)
class Difference:
    """One metric of two aligners on one task, and `first - second` (`value`), all over the samples that both have.

    `low` to `high` is its 95 % interval; where it contains zero, the samples do not tell the two apart. `n` units were
    resampled: samples, or groups of them by the column `group`. `left_out` counts samples that only one of the two
    could be judged on.
    """

    suite: str
    dataset: str
    task: str
    metric: str
    first: float
    second: float
    value: float
    low: float
    high: float
    n: int
    left_out: int
    prompts: str = ""
    group: str = ""

    def row(self) -> dict[str, Any]:
        return asdict(self)


def comparison_file(first: str, second: str) -> str:
    """Key in the store of the newest comparison of two aligners."""
    return f"{COMPARISONS}/{first}..{second}.json"


def compare_kept(
    store: Store, first: str, second: str, *, only: Sequence[Result] = (), group: str | None = None, seed: int = 0
) -> list[Difference]:
    """Compare what is saved of two aligners, or only the tasks of the results in `only`, and keep the differences.

    Samples with one value in the column `group` of the sample index are resampled together. Raises StructureError where
    they have no task in common, where a task was asked in different ways, or for a column that is not there.
    """
    wanted = {result.question for result in only}
    ours, theirs = (_numbers(store, name) for name in (first, second))
    shared = [key for key in ours if key in theirs and (not wanted or key[0] in wanted)]
    _require_asked_alike(ours, theirs, {key[0] for key in shared}, wanted)
    if not shared:
        raise StructureError(
            f"{first} ({len(ours)} numbers) and {second} ({len(theirs)}) were not evaluated on the same task. "
            f"Run: structure eval --suite SUITE --compare {first} {second}"
        )
    pairings: dict[tuple[str, ...], Pairing] = {}
    found = []
    for key in shared:
        one, other = ours[key], theirs[key]
        if key[0] not in pairings:
            _require_same_question(one, other)
            mine, its = (require_predictions(store.folder("results", each.aligner), each) for each in (one, other))
            pairings[key[0]] = Pairing.of(mine, its, _groups(store, one, group))
        pairing = pairings[key[0]]
        difference = pairing.difference(one.metric, seed=seed)
        if difference is None:
            _require_unknown(one, first, second)
            continue
        values = pairing.values(one.metric) if pairing.left_out else (one.value, other.value)
        found.append(
            Difference(
                *(one.suite, one.dataset, one.task, one.metric),
                *values,
                *(difference.value, difference.low, difference.high),
                n=difference.n,
                left_out=pairing.left_out,
                prompts=str(one.provenance.get("prompt_set", "")),
                group=group or "",
            )
        )
    document = {
        "first": first,
        "second": second,
        "runs": [run_of(store, name) for name in (first, second)],
        "differences": [difference.row() for difference in found],
    }
    if store.files.writable:
        file = comparison_file(first, second)
        store.files.write(file, Seal(file).json(strict(document), indent=1))
    return found


def _groups(store: Store, result: Result, column: str | None) -> dict[str, str | None] | None:
    """Sample id -> value in a column of the sample index, of the samples that were asked about."""
    if column is None:
        return None
    asked = result.provenance.get("samples")
    if asked is None:
        raise StructureError(
            f"{result.dataset} was evaluated without a record of its samples, so that the groups of {column} are not "
            f"known. Evaluate again: structure eval --suite SUITE --aligner {result.aligner}"
        )
    samples = store.samples(asked["dataset"], asked["split"])
    return dict(zip(samples.item_ids, group_values(samples, np.arange(len(samples)), column), strict=True))


def _require_unknown(result: Result, first: str, second: str) -> None:
    """Raises StructureError where a metric that is installed cannot be paired: the predictions lack what it reads."""
    if pattern_of(result.metric)[0] in METRICS:
        raise StructureError(
            f"The predictions of {first} or {second} on {result.dataset} were saved without the columns that a "
            f"difference of {result.metric} needs ({', '.join(metric_named(result.metric).columns)}). Evaluate both "
            f"on the suite {result.suite} again: structure eval --suite SUITE --compare {first} {second}"
        )


_Numbers = dict[tuple[tuple[str, ...], str], Result]
"""(question, metric) -> result."""


def _numbers(store: Store, aligner: str) -> _Numbers:
    there = store.folder("aligners", aligner).exists(RECORD)
    run = str(aligner_record(store, aligner)["metadata"].get("run", "")) if there else ""
    results = read_results(store.folder("results", aligner), run=run)
    return {(result.question, result.metric): result for result in results}


def _require_asked_alike(
    ours: _Numbers, theirs: _Numbers, shared: Set[tuple[str, ...]], wanted: Set[tuple[str, ...]]
) -> None:
    """Raises StructureError where both were evaluated on a task, but never with the same question."""
    answered = {question[:3] for question in shared}
    others = {question[:3]: result for (question, _), result in theirs.items()}
    for (question, _), result in ours.items():
        if (not wanted or question in wanted) and question[:3] not in answered and question[:3] in others:
            _require_same_question(result, others[question[:3]])


def _require_same_question(one: Result, other: Result) -> None:
    fields = [name for name in SAME if one.provenance.get(name) != other.provenance.get(name)]
    if fields:
        told = "; ".join(
            f"{name}: {one.aligner} {one.provenance.get(name)!r}, {other.aligner} {other.provenance.get(name)!r}"
            for name in fields
        )
        raise StructureError(
            f"{one.dataset} was asked in two ways ({told}), so the two numbers cannot be paired. Evaluate both again "
            "in one command."
        )
