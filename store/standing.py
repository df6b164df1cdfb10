"""What is in a store and how far each part has come: done, being written, missing."""

from __future__ import annotations

import json
from typing import Any

from structure.store.catalogue import Store
from structure.store.claim import Claim
from structure.store.feature_set import FeatureSet
from structure.store.files import LocalFiles


def standing(store: Store) -> dict[str, list[dict[str, Any]]]:
    """Rows of `features` (rows done, and shards that somebody alive is writing), `rankings`, `aligners`, `results` and
    `recipes`; the last four only of a store on a local disk."""
    found: dict[str, list[dict[str, Any]]] = {"features": [_features(store, each) for each in store.feature_sets()]}
    found |= {"rankings": [], "aligners": [], "results": [], "recipes": []}
    if not isinstance(store.files, LocalFiles):
        return found
    for path in sorted(store.folder("rankings").glob("*/ranking.json")):
        best = json.loads(path.read_text())["best"]
        chosen = f"{best['vision_layer']} with {best['text_layer']}"
        found["rankings"].append({"ranking": path.parent.name, "chosen": chosen, "score": best["score"]})
    for path in sorted(store.folder("aligners").glob("*/aligner.json")):
        found["aligners"].append({"aligner": path.parent.name})
    for path in sorted(store.folder("results").glob("*/results.parquet")):
        tables = len(list((path.parent / "predictions").glob("*.parquet")))
        found["results"].append({"aligner": path.parent.name, "tasks": tables})
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
