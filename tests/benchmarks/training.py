"""A whole run from the store against the same run from tensors in memory, in one process, as one JSON line.

    python tests/benchmarks/training.py [--pairs 20000] [--width 512] [--epochs 10] [--repeats 3]
    python tests/benchmarks/training.py --store STORE --layers VISION,TEXT

The store's run opens it, pairs the rows, reads both layers, trains, and writes aligner, history and card; the
other trains alone, on tensors that are there. Without --store random pairs are written first. No R_S: its products
would hide what reading costs. Turns are taken; the best of each counts. `--memory` adds a run that reads in windows.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

import numpy as np

from structure.cli.choices import byte_count
from structure.pipeline import align
from structure.pipeline.aligners import TrainingOptions, fit
from structure.pipeline.pairing.pairs import choose_sets, pair_rows
from structure.store import Column, Manifest, Rows, SampleItem, Samples, open_store
from structure.store.shard_ranges import shard_size
from structure.store.shard_writer import write_shard

AT_MOST = 1.15


def write_pairs(folder: Path, pairs: int, width: int) -> None:
    """A store of random pairs whose sides have something in common."""
    store = open_store(folder)
    samples = Samples.build("bench", "train", [SampleItem(f"{i:06d}", ("a",), "0") for i in range(pairs)])
    draws = np.random.default_rng(0)
    store.put_samples(samples)
    common = draws.standard_normal((pairs, width), dtype=np.float32)
    for modality in ("vision", "text"):
        values = (common + draws.standard_normal((pairs, width), dtype=np.float32)).astype(np.float16)
        manifest = Manifest(
            dataset="bench",
            split="train",
            encoder=modality,
            modality=modality,  # type: ignore[arg-type]
            rows_of="items" if modality == "vision" else "captions",
            rows=pairs,
            captions=None if modality == "vision" else 1,
            shard_rows=shard_size(pairs, 2 * width),
            columns=(Column("block.00", width),),
            identity={"encoder": {"bench": modality}, "extraction": {}, "data": {}},
        )
        features = store.allocate(manifest, samples)
        for shard in features.pending():
            write_shard(features, shard, {"block.00": values[shard.start : shard.stop]})


def compare(place: str, layers: str, asked: argparse.Namespace) -> None:
    options = TrainingOptions(
        dim=256,
        batch=1024,
        epochs=asked.epochs,
        patience=asked.epochs,
        learning_rate=1e-3,
        regulariser="none",
        device="cpu",
    )
    store = open_store(place)
    vision, text = choose_sets(store, dataset=None, split=None, vision=None, text=None)
    rows = pair_rows(store, vision, text)
    names = layers.split(",")
    tensors = Rows(vision, names[0], rows.vision)[:], Rows(text, names[1], rows.text)[:]
    runs = itertools.count()  # a run of its own each time: one that is on record is not trained again
    ways: dict[str, Callable[[], object]] = {
        "memory": lambda: fit(*tensors, options=options),
        "store": lambda: align(layers, store=place, options=options, name=f"benchmark-{os.getpid()}-{next(runs)}"),
    }
    if asked.memory:
        budget = byte_count("--memory", asked.memory)
        ways["windows"] = lambda: align(
            layers, store=place, options=options, name=f"windows-{os.getpid()}-{next(runs)}", memory=budget
        )
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    cpu: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(asked.repeats):
        for way, run in ways.items():
            began, used = time.perf_counter(), time.process_time()
            run()
            seconds[way].append(round(time.perf_counter() - began, 3))
            cpu[way].append(round(time.process_time() - used, 3))
    told: dict[str, object] = {"pairs": len(rows), "epochs": asked.epochs, "at_most": AT_MOST}
    for way in ways:
        told |= {f"{way}_s": min(seconds[way]), f"{way}_cpu_s": min(cpu[way])}
        if way != "memory":
            told[f"{way}_over_memory"] = round(min(seconds[way]) / min(seconds["memory"]), 3)
            told[f"{way}_over_memory_cpu"] = round(min(cpu[way]) / min(cpu["memory"]), 3)
    print(json.dumps(told))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--store")
    parser.add_argument("--layers", default="block.00,block.00")
    for name, value in (("pairs", 20_000), ("width", 512), ("epochs", 10), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--memory", help="also a run that may hold this much, such as 64MB")
    asked = parser.parse_args()
    if asked.store:
        compare(asked.store, asked.layers, asked)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_pairs(Path(folder), asked.pairs, asked.width)
        compare(folder, asked.layers, asked)


if __name__ == "__main__":
    main()
