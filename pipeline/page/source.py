"""What a store holds that a page can show, read once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any

import pyarrow as pa

from structure.pipeline.aligners.aligner_runs import HISTORY, RATES, RECORD, aligner_record, run_of, table_beside
from structure.pipeline.datasets.dataset import PROMPTS
from structure.pipeline.metrics.answers import answers_of
from structure.pipeline.metrics.registry import METRICS, metric_named, pattern_of
from structure.pipeline.owned_files import damaged
from structure.pipeline.page.leaderboard import Leaderboard, leaderboards
from structure.pipeline.pair_curves.curve import FILE as CURVE
from structure.pipeline.pair_curves.curve import FOLDER as CURVES
from structure.pipeline.pair_curves.curve import PairCurve
from structure.pipeline.results import (
    COMPARISONS,
    HELD_OUT,
    TEST_PREDICTIONS,
    Result,
    read_beside,
    read_predictions,
    read_results,
    table_of,
)
from structure.pipeline.similarity.layer_similarity import FILE as RANKING
from structure.pipeline.similarity.model_matrix import FILE as MODELS
from structure.pipeline.strict_json import from_json
from structure.store import FeatureSet, Store
from structure.store.files import Files
from structure.store.sealed_tables import listed_beside
from structure.store.seals import SealError, read_json

TABLES_AT_ONCE = 64
"""Predictions that are in memory at one time."""


@dataclass(frozen=True)
class Ranking:
    """A ranking's document by its name."""

    name: str
    document: Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """The store, and the summaries of recipes to show: means, differences, correlations, seconds.

    `stale` rows (`what`, `why`, `command`) are of what was made from something that has changed since. Every property
    is empty where a stage has not run.
    """

    store: Store
    summaries: Sequence[Mapping[str, Any]]
    outdated: Sequence[str] = ()
    stale: Sequence[Mapping[str, Any]] = ()

    @classmethod
    def of(cls, store: Store, summary: Mapping[str, Any] | None) -> Source:
        """With the summaries that recipes left in the store; with one of a recipe that asks for its page, that first
        and besides it those of sweeps, which have no page of their own. One of whose aligners others have taken the
        names since is `outdated`: its numbers are of other models than the page's."""
        folder = store.folder("reports")
        left = _documents(folder, "summary.json")
        if summary is not None:
            left = [(n, b) for n, b in left if n != summary["recipe"] and not folder.exists(f"{n}/report.html")]
        current, outdated = [], []
        for name, body in left:
            if _is_current(store, body):
                current.append(body)
            else:
                outdated.append(name)
        return cls(store, current if summary is None else [summary, *current], outdated)

    @cached_property
    def features(self) -> list[FeatureSet]:
        """Every feature set but those of prompts."""
        return self.store.feature_sets(without_kind=PROMPTS)

    @cached_property
    def rankings(self) -> list[Ranking]:
        return [Ranking(name, body) for name, body in _documents(self.store.folder("rankings"), RANKING)]

    @cached_property
    def models(self) -> list[Mapping[str, Any]]:
        """The documents of `rank-layers --all`."""
        return [body for _, body in _documents(self.store.folder("rankings"), MODELS)]

    @cached_property
    def pair_curves(self) -> dict[str, PairCurve]:
        """The curves over the number of pairs, by name."""
        folder = self.store.folder(CURVES)
        return {name: PairCurve.read(folder.at(name)) for name in sorted(folder.holding(CURVE))}

    @cached_property
    def aligners(self) -> dict[str, Mapping[str, Any]]:
        """The metadata of each aligner, by name."""
        names = sorted(self.store.folder("aligners").holding(RECORD))
        return {name: aligner_record(self.store, name)["metadata"] for name in names}

    @cached_property
    def histories(self) -> dict[str, list[dict[str, Any]]]:
        """A row an epoch, of each aligner that was trained in epochs."""
        return self._tables(HISTORY)

    @cached_property
    def rates(self) -> dict[str, list[dict[str, Any]]]:
        """The learning-rate range test of each aligner that ran one: `rate` and smoothed `loss`."""
        return self._tables(RATES)

    @cached_property
    def results(self) -> list[Result]:
        """Of the aligners as they are now: what an earlier one of the name reached is no result of this one."""
        folders = {name: self.store.folder("results", name) for name in self.aligners}
        return [one for name, folder in folders.items() for one in read_results(folder, run=self._run(name) or "")]

    @cached_property
    def held_out(self) -> list[Result]:
        """What trainings measured on the pairs that they held out as a test, where the ranks were saved: with intervals
        over these pairs. A question is of aligners that have as many test pairs of the same data."""
        return [result for name in self.aligners for result in self._held_out(name)]

    @cached_property
    def leaderboards(self) -> list[Leaderboard]:
        """Of every test and metric, held-out pairs among them."""
        return leaderboards([*self.held_out, *self.results], self.predictions)

    def predictions(self, result: Result) -> pa.Table | None:
        """What a result was computed from; None where it was not saved."""
        if result.task == HELD_OUT:
            return self._held_out_ranks(result.aligner)
        return self._predictions(result)

    @cached_property
    def comparisons(self) -> list[Mapping[str, Any]]:
        """Results of `eval --compare`: two aligners as they are now, sample by sample."""
        folder = self.store.folder(COMPARISONS)
        documents = [_json(folder, key) for key in folder.keys("") if key.endswith(".json")]
        return [one for one in documents if one.get("runs") == [self._run(one["first"]), self._run(one["second"])]]

    def saved(self, kind: str) -> list[tuple[Result, pa.Table]]:
        """The tables of one kind ("confusion", "examples") that evaluations saved, each with a result of that task."""
        tables = []
        for result in self._questions.values():
            folder, name = self.store.folder("results", result.aligner), f"{kind}/{result.file}"
            table = table_of(folder, name, self.predictions(result))
            if table is not None:
                tables.append((result, table))
        return tables

    def pictures(self, aligner: str) -> Iterator[tuple[str, Callable[[], bytes | None]]]:
        """(name, what reads it) of every picture of segmentations that evaluations of the aligner drew."""
        folder = self.store.folder("results", aligner)
        for result in self._questions.values():
            if result.aligner == aligner and result.task == "segmentation":
                table = self.predictions(result)
                listed = listed_beside(table) if table is not None else None
                for name in sorted(folder.keys("pictures") if listed is None else listed):
                    if name.startswith("pictures/") and name.endswith(".png"):
                        yield name, partial(read_beside, folder, name, table)

    @cached_property
    def _questions(self) -> dict[tuple[str, ...], Result]:
        """A result of each question that each aligner answered."""
        return {(result.aligner, *result.question): result for result in self.results}

    @cached_property
    def _held_out_ranks(self) -> Callable[[str], pa.Table | None]:
        return cache(lambda aligner: table_beside(self.store, aligner, TEST_PREDICTIONS))

    @cached_property
    def _predictions(self) -> Callable[[Result], pa.Table | None]:
        kept: dict[tuple[str, ...], pa.Table | None] = {}

        def read(result: Result) -> pa.Table | None:
            key = (result.aligner, *result.question)
            if key not in kept:
                if len(kept) >= TABLES_AT_ONCE:
                    kept.pop(next(iter(kept)))
                kept[key] = read_predictions(self.store.folder("results", result.aligner), result)
            return kept[key]

        return read

    def _held_out(self, aligner: str) -> Iterator[Result]:
        facts = self.aligners[aligner]
        table, pairs = self._held_out_ranks(aligner), facts.get("test_pairs", 0)
        if table is None:
            return
        data, answers = facts.get("data", {}), answers_of(table)
        provenance = {"split": data.get("split", ""), "prompts_digest": f"{pairs} pairs"}
        numbers_of = facts.get("test_metrics", {})
        for metric in sorted(numbers_of, key=lambda name: (pattern_of(name)[1] or 0, name)):
            if pattern_of(metric)[0] in METRICS:
                one = metric_named(metric)
                found, chance = one.interval(answers), one.chance_of_pairs(pairs)
                numbers = (numbers_of[metric], found.low, found.high, found.n, chance)
                yield Result(aligner, "", data.get("dataset", ""), HELD_OUT, metric, *numbers, provenance)

    def _run(self, aligner: str) -> str | None:
        """The training run that made the aligner; None where there is no such aligner."""
        return str(self.aligners[aligner].get("run", "")) if aligner in self.aligners else None

    def _tables(self, file: str) -> dict[str, list[dict[str, Any]]]:
        found = {name: table_beside(self.store, name, file) for name in self.aligners}
        return {name: table.to_pylist() for name, table in found.items() if table is not None}


def _is_current(store: Store, summary: Mapping[str, Any]) -> bool:
    """Whether no aligner of a summary was trained anew since; one that does not say which it had is taken as it is."""
    runs = summary.get("runs")
    return not isinstance(runs, Mapping) or all(run_of(store, name) in (None, run) for name, run in runs.items())


def _documents(folder: Files, file: str) -> list[tuple[str, dict[str, Any]]]:
    """(name, JSON) of everything below the folder that has that file."""
    return [(name, _json(folder, f"{name}/{file}")) for name in sorted(folder.holding(file))]


def _json(folder: Files, key: str) -> dict[str, Any]:
    try:
        return read_json(folder, key, loads=from_json)
    except SealError as error:
        raise damaged(folder, key, error) from None
