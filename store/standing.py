"""What is in a store and how far each part has come: done, being written, missing."""

from __future__ import annotations

import json
from typing import Any

from structure.store.catalogue import Store
from structure.store.claim import Claim
from structure.store.feature_set import FeatureSet


def standing(store: Store) -> dict[str, list[dict[str, Any]]]:
    """Rows of `features` (rows done, and shards that somebody alive is writing), `rankings`, `aligners`, `results` and
    `recipes`."""
    found: dict[str, list[dict[str, Any]]] = {"features": [_features(store, each) for each in store.feature_sets()]}
    found |= {"rankings": [], "aligners": [], "results": [], "recipes": []}
    rankings, results = store.folder("rankings"), store.folder("results")
    for name in rankings.holding("ranking.json"):
        best = json.loads(rankings.read(f"{name}/ranking.json"))["best"]
        chosen = f"{best['vision_layer']} with {best['text_layer']}"
        found["rankings"].append({"ranking": name, "chosen": chosen, "score": best["score"]})
    for name in store.folder("aligners").holding("aligner.json"):
        found["aligners"].append({"aligner": name})
    for name in results.holding("results.parquet"):
        found["results"].append({"aligner": name, "tasks": len(results.keys(f"{name}/predictions"))})
    for name in store.files.children("recipes"):
        lock = f"recipes/{name}/running.json"
        going = store.files.exists(lock) and not Claim(store.files, lock, what=name).is_void()
        kept = [key for key in store.files.keys(f"recipes/{name}") if key.endswith(".json") and key != lock]
        found["recipes"].append({"recipe": name, "steps kept": len(kept), "running": "yes" if going else "no"})
    return found


def _features(store: Store, features: FeatureSet) -> dict[str, Any]:
    due = sum(len(shard) for shard in features.pending())
    claims = [key for key in store.files.keys(f"features/{features.key}/claims") if key.endswith(".json")]
    alive = sum(not Claim(store.files, key, what=features.key).is_void() for key in claims)
    return {
        "features": features.key,
        "state": features.state,
        "rows": len(features),
        "done": len(features) - due,
        "running": alive,
        "skipped": len(features.skipped),
    }
