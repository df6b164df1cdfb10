"""A whole run from the store against the same run from tensors in memory, in one process, as one JSON line.

    python tests/benchmarks/training.py --store STORE --layers VISION,TEXT [--epochs 60] [--repeats 3]

The store's run opens it, pairs the rows, reads both layers, trains, and writes aligner, history and card; the other
trains alone. Turns are taken; the best of each counts.
"""

from __future__ import annotations

import argparse
import json
import os
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from structure.pipeline import align
from structure.pipeline.aligners import TrainingOptions, fit
from structure.pipeline.features.pairs import choose_sets, gather, pair_rows
from structure.store import open_store


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", required=True)
    parser.add_argument("--layers", required=True)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    options = TrainingOptions(epochs=asked.epochs, patience=asked.epochs, rate=1e-3, device="cpu")
    store = open_store(asked.store)
    vision, text = choose_sets(store, dataset=None, split=None, vision=None, text=None)
    rows = pair_rows(store, vision, text)
    layers = asked.layers.split(",")
    tensors = gather(vision, layers[0], rows.vision), gather(text, layers[1], rows.text)
    times: dict[str, list[float]] = {"store": [], "memory": []}
    for _ in range(asked.repeats):
        began = time.perf_counter()
        fit(*tensors, options=options)
        times["memory"].append(time.perf_counter() - began)
        began = time.perf_counter()
        align(asked.layers, store=asked.store, options=options, name="benchmark")
        times["store"].append(time.perf_counter() - began)
    best = {way: min(found) for way, found in times.items()}
    ratio = round(best["store"] / best["memory"], 3)
    print(json.dumps({"pairs": len(rows), "epochs": asked.epochs, **best, "store_over_memory": ratio}))


if __name__ == "__main__":
    main()
