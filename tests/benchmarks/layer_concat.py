"""Several layers a side against the best layer pair, closed form, over seeds, on held-out pairs.

    python tests/benchmarks/layer_concat.py --data ../shared/data --store /tmp/auto [--only icons-3000] [--seeds 5]

Sets are those of auto.py; a seed draws the pairs. `two` are the layers that `--method auto` tries; one JSON line for
each set has the mean recall (R@1, R@5, R@10 both ways) of `kernel-csa` on one layer a side and on two, and the gain
with its standard error over seeds.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

import numpy as np

from structure.pipeline.aligners.aligner_method import fit
from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.model_selection.stored import layer_candidates
from structure.pipeline.pairing.pairs import choose_sets, pair_rows
from structure.store import open_store
from structure.store.joined_rows import layer_rows, loaded
from tests.benchmarks.auto import mean_recall, prepare

SIZES = {"icons": (1000, 3000), "emoji": (700,), "scenes": (700,), "coco": (74,)}
HELD_OUT = {"icons": 600, "emoji": 249, "scenes": 300, "coco": 19}


def measure(name: str, store: str, size: int, seeds: int) -> dict[str, Any]:
    """Mean recall on one layer a side and on two."""
    opened = open_store(store)
    held = {features.manifest.dataset for features in opened.feature_sets()}
    sets = choose_sets(opened, dataset=name if name in held else None, split=None, vision=None, text=None)
    rows = pair_rows(opened, *sets)
    one, *_, two = layer_candidates(opened, sets, "auto", 1)
    recall: dict[str, list[float]] = {"one": [], "two": []}
    for choice, layers in (("one", one), ("two", two)):
        vision, text = (
            loaded(layer_rows(features, layer, numbers))
            for features, layer, numbers in zip(sets, layers, (rows.vision, rows.text), strict=True)
        )
        for seed in range(seeds):
            order = np.random.default_rng(seed).permutation(len(rows))
            test, training = order[: HELD_OUT[name]], np.sort(order[HELD_OUT[name] : HELD_OUT[name] + size])
            options = TrainingOptions(method="kernel-csa", refit=True, seed=seed, device="cpu")
            aligner = fit(vision[training], text[training], options=options).aligner
            recall[choice].append(mean_recall(aligner, vision[test], text[test]))
    gain = np.subtract(recall["two"], recall["one"])
    return {
        "set": f"{name}-{size}",
        "layers": {"one": one, "two": two},
        "recall": {choice: round(float(np.mean(values)), 4) for choice, values in recall.items()},
        "gain": round(float(gain.mean()), 4),
        "se": round(float(gain.std(ddof=1) / np.sqrt(seeds)), 4) if seeds > 1 else None,
    }


def main() -> None:
    """Print one JSON line for each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--only", default=",".join(f"{name}-{size}" for name, sizes in SIZES.items() for size in sizes))
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    for wanted in given.only.split(","):
        name, _, size = wanted.rpartition("-")
        print(json.dumps(measure(name, prepare(name, given.data, given.store), int(size), given.seeds)), flush=True)


if __name__ == "__main__":
    main()
