"""What was made from features, samples or aligners that have changed since, and what makes it again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from structure.pipeline.aligners.aligner_runs import RECORD, run_of
from structure.pipeline.datasets.dataset import PROMPTS
from structure.pipeline.extraction.command_to_repeat import command_to_repeat
from structure.pipeline.results import ASKED, RUN, Result, every_result
from structure.store import FeatureSet, Samples, Store
from structure.store.errors import DamageError, StructureError
from structure.store.seals import SealError, read_json
from structure.store.withdrawn import is_pending

Row = dict[str, Any]


def stale(store: Store) -> list[Row]:
    """Rows `what`, `why` and `command`: features that lack samples of their split or hold withdrawn ones, rankings and
    aligners of features that are no longer those, results of other samples or of an earlier aligner of the name."""
    sets = {features.key: features for features in store.feature_sets(without_kind=PROMPTS)}
    samples = _tables(store, sets.values())
    return [
        *_short(sets.values(), samples),
        *_unfinished(sets.values(), samples),
        *_rankings(store, sets),
        *_aligners(store, sets),
        *_results(store),
    ]


def _tables(store: Store, sets: Any) -> dict[tuple[str, str], Samples]:
    """The sample index of every split that has features, but for one that does not read."""
    tables = {}
    for split in {(features.manifest.dataset, features.manifest.split) for features in sets}:
        try:
            tables[split] = store.samples(*split)
        except StructureError:
            continue
    return tables


def _short(sets: Any, samples: Mapping[tuple[str, str], Samples]) -> Iterator[Row]:
    for features in sets:
        manifest = features.manifest
        table = samples.get((manifest.dataset, manifest.split))
        if table is None:
            continue
        expected = table.row_count(manifest.rows_of, manifest.captions, manifest.views)
        if len(features) < expected:
            yield {
                "what": f"features {features.key}",
                "why": f"{len(features):,} rows; the split has grown to {expected:,}",
                "command": command_to_repeat(features, append=True),
            }


def _unfinished(sets: Any, samples: Mapping[tuple[str, str], Samples]) -> Iterator[Row]:
    """Features with rows of samples that were withdrawn, where the run that overwrites them was interrupted."""
    for features in sets:
        manifest = features.manifest
        table = samples.get((manifest.dataset, manifest.split))
        if table is not None and is_pending(features, table):
            yield {
                "what": f"features {features.key}",
                "why": "samples were withdrawn, and their rows are still there: this was interrupted",
                "command": f"structure store drop-items --dataset {manifest.dataset} --yes",
            }


def _rankings(store: Store, sets: Mapping[str, FeatureSet]) -> Iterator[Row]:
    for name, body in _documents(store, "rankings", "ranking.json"):
        try:
            keys = [f"{body['dataset']}/{body['split']}/{body[side]['model']}" for side in ("vision", "text")]
            prints = [body[side]["fingerprint"] for side in ("vision", "text")]
            metric = body["metric"]
        except (KeyError, TypeError):
            continue
        changed = _changed(sets, keys, prints)
        if changed:
            yield {
                "what": f"ranking {name}",
                "why": changed,
                "command": f"structure rank-layers --dataset {body['dataset']} --split {body['split']} "
                f"--vision {body['vision']['model']} --text {body['text']['model']} --metric {metric}",
            }


def _aligners(store: Store, sets: Mapping[str, FeatureSet]) -> Iterator[Row]:
    for name, body in _documents(store, "aligners", RECORD):
        try:
            facts = body["metadata"]
            data = f"{facts['data']['dataset']}/{facts['data']['split']}"
            keys = [f"{data}/{facts['encoders'][side]['name']}" for side in ("vision", "text")]
            prints = [facts["fingerprints"][side] for side in ("vision", "text")]
        except (KeyError, TypeError):
            continue
        changed = _changed(sets, keys, prints)
        if changed:
            yield {
                "what": f"aligner {name}",
                "why": changed,
                "command": f"its structure align, again, with --name {name} --replace",
            }


def _changed(sets: Mapping[str, FeatureSet], keys: Sequence[str], prints: Sequence[str]) -> str:
    """Which of the feature sets are there with another fingerprint than on record, in words; "" for none."""
    other = [
        f"{key} has changed or grown to {len(sets[key]):,} rows ({old[:8]}, now {sets[key].fingerprint[:8]})"
        for key, old in zip(keys, prints, strict=True)
        if key in sets and sets[key].fingerprint != old
    ]
    return "; ".join(other)


def _results(store: Store) -> Iterator[Row]:
    folder = store.folder("results")
    splits: dict[tuple[str, str], str] = {}
    for name in folder.holding("results.parquet"):
        try:
            results = every_result(folder.at(name))
        except (OSError, DamageError):
            continue  # a damaged file is told where it is read
        run = run_of(store, name)
        earlier = [result for result in results if result.provenance.get(RUN, "") != (run or "")]
        if earlier:
            yield {
                "what": f"{len(earlier)} results of {name}",
                "why": "of an earlier aligner of that name" if run is not None else "the aligner is not there",
                "command": f"structure eval --suite SUITE --aligner {name}",
            }
        old = [result for result in results if result not in earlier and _asked_of_others(store, result, splits)]
        asked: dict[str, list[Result]] = {}
        for result in old:
            by_name = f"--suite {result.suite.partition('@')[0]}"  # of results that were saved by an earlier version
            asked.setdefault(str(result.provenance.get(ASKED, by_name)), []).append(result)
        for options, same in asked.items():
            datasets = ", ".join(dict.fromkeys(result.dataset for result in same))
            yield {
                "what": f"{len(same)} results of {name}",
                "why": f"the samples of {datasets} have changed or grown",
                "command": f"structure eval {options} --aligner {name}",
            }


def _asked_of_others(store: Store, result: Result, splits: dict[tuple[str, str], str]) -> bool:
    """Whether the samples that a result is of are no longer those of the split in the store."""
    asked = result.provenance.get("samples")
    if not isinstance(asked, Mapping):
        return False
    split = str(asked.get("dataset")), str(asked.get("split"))
    if split not in splits:
        try:
            splits[split] = samples_digest(store.samples(*split))
        except StructureError:
            splits[split] = ""
    return splits[split] not in ("", asked.get("digest"))


def samples_digest(samples: Samples) -> str:
    """Hex digest of the samples, their contents and captions, as a result records what it is of."""
    return samples.digest("items")[:16] + samples.digest("captions")[:16]


def _documents(store: Store, kind: str, file: str) -> Iterator[tuple[str, Any]]:
    folder = store.folder(kind)
    for name in folder.holding(file):
        try:
            yield name, read_json(folder, f"{name}/{file}")
        except SealError:
            continue  # a damaged one is told where it is read
