"""What is in a store and how far each part has come: done, being written, missing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from structure.pipeline.evaluation.outdated import stale
from structure.pipeline.extraction.command_to_repeat import command_to_repeat
from structure.store.feature_set import FeatureSet
from structure.store.files import Files
from structure.store.lease import Lease, leases_of
from structure.store.seals import SealError, read_json
from structure.store.store import Store

Rows = list[dict[str, Any]]

RECIPES = "recipes"
"""Where recipes, and sweeps, which are recipes built in memory, cache their steps."""


def status(store: Store) -> dict[str, Rows]:
    """Rows of `features` (rows done, and shards that somebody alive is writing), `rankings`, `aligners`, `results`,
    `recipes` and `sweeps` that have begun, `stale`: what was made from something that has changed since, and `missing`:
    what a next step would be about, both with a command."""
    sets = store.feature_sets()
    found: dict[str, Rows] = {"features": [_features(store, each) for each in sets]}
    found |= {"rankings": [], "aligners": [], "results": [], "recipes": [], "sweeps": []}
    rankings, results = store.folder("rankings"), store.folder("results")
    for name in rankings.holding("ranking.json"):
        chosen, score = _choice(rankings, f"{name}/ranking.json")
        found["rankings"].append({"ranking": name, "chosen": chosen, "score": score})
    for name in store.folder("aligners").holding("aligner.json"):
        found["aligners"].append({"aligner": name})
    for name in results.holding("results.parquet"):
        found["results"].append({"aligner": name, "tasks": len(results.keys(f"{name}/predictions"))})
    for name in store.files.children(RECIPES):
        entries = [key for key in store.files.keys(f"{RECIPES}/{name}") if key.endswith(".json")]
        lock = f"{RECIPES}/{name}/running.json"
        going = lock in entries and not Lease(store.files, lock, what=name).is_stale()
        runs = [key for key in entries if key.startswith(f"{RECIPES}/{name}/align/")]
        steps, running = sum(key != lock for key in entries), "yes" if going else "no"
        if _is_sweep(store, runs):
            found["sweeps"].append({"sweep": name, "runs done": len(runs), "running": running})
        elif steps or going:
            found["recipes"].append({"recipe": name, "steps cached": steps, "running": running})
    return {**found, "stale": stale(store), "missing": _missing(found, {each.key: each for each in sets})}


def _is_sweep(store: Store, runs: Sequence[str]) -> bool:
    """Whether cached trainings are those of a sweep: on features that were there, which no recipe names."""
    try:
        return "stored" in json.loads(store.files.read(runs[0]))["identity"]["options"]
    except (IndexError, FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _choice(rankings: Files, name: str) -> tuple[str, float | None]:
    """What a ranking chose, and its score."""
    try:
        best = read_json(rankings, name)["best"]
        return f"{best['vision_layer']} with {best['text_layer']}", best["score"]
    except (SealError, KeyError, TypeError) as error:
        why = str(error) if isinstance(error, SealError) else "does not read"
        return f"{why}: remove it, or rank again", None


def _missing(found: Mapping[str, Rows], sets: Mapping[str, FeatureSet]) -> Rows:
    """What keeps the store from the next step; nothing of what somebody is writing now."""
    sides = {features.modality for features in sets.values()}
    rows = [
        {
            "what": f"{row['rows'] - row['done']:,} rows of {row['features']}",
            "command": command_to_repeat(sets[row["features"]]),
        }
        for row in found["features"]
        if row["state"] != "complete" and not row["running"]
    ]
    if len(sides) == 1:
        (side,) = sides
        other = "text" if side == "vision" else "vision"
        rows.append({"what": f"{other} features beside the {side} ones", "command": _beside(sets)})
    if len(sides) > 1 and not found["rankings"]:
        rows.append({"what": "a ranking of layers", "command": "structure rank-layers"})
    if found["rankings"] and not found["aligners"]:
        rows.append({"what": "an aligner", "command": "structure align --layers auto"})
    judged = {row["aligner"] for row in found["results"]}
    bare = [row["aligner"] for row in found["aligners"] if row["aligner"] not in judged]
    if bare:
        more = f" and {len(bare) - 1:,} more aligners" if len(bare) > 1 else ""
        rows.append({"what": f"results of {bare[0]}{more}", "command": f"structure eval --suite S --aligner {bare[0]}"})
    return rows


def _beside(sets: Mapping[str, FeatureSet]) -> str:
    """The command that extracts another encoder over the data of the first set."""
    manifest = next(iter(sets.values())).manifest
    dataset = (manifest.provenance or {}).get("dataset_spec") or manifest.dataset
    return f"structure extract --model MODEL --dataset {dataset} --split {manifest.split}"


def _features(store: Store, features: FeatureSet) -> dict[str, Any]:
    pending = sum(len(shard) for shard in features.pending())
    alive = sum(not lease.is_stale() for lease in leases_of(store.files, features.prefix))
    return {
        "features": features.key,
        "state": features.state,
        "rows": len(features),
        "done": len(features) - pending,
        "running": alive,
        "skipped": len(features.skipped),
    }
