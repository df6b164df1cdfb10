"""Writing and reading a feature set beside `np.save` and `np.load`, in one process.

    python tests/benchmarks/store.py [--layers 25 --rows 20000 --width 1024 --repeats 3]

Prints one JSON line a measure: gigabytes a second of both, and the ratio (median over repeats, page cache warm). The
store's figures include what `np.save` does not do: a finite check, a CRC-32C of every byte, fsync, and done marks.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from structure.store import Column, FeatureSet, Manifest, SampleItem, Samples, open_store
from structure.store.shard import shard_size


def timed(work: Callable[[], object], repeats: int, prepare: Callable[[], object] = lambda: None) -> float:
    seconds = []
    for _ in range(repeats):
        prepare()
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def write(folder: Path, layers: dict[str, np.ndarray], level: int | None) -> FeatureSet:
    rows = len(next(iter(layers.values())))
    store = open_store(folder)
    samples = store.put_samples(Samples.build("bench", "train", [SampleItem(f"i{i}") for i in range(rows)]))
    columns = tuple(Column(name, values.shape[1], str(values.dtype)) for name, values in layers.items())
    manifest = Manifest(
        dataset="bench",
        split="train",
        encoder="m",
        modality="vision",
        rows_of="items",
        rows=rows,
        shard_rows=shard_size(rows, sum(column.row_bytes for column in columns)),
        columns=columns,
        identity={"encoder": {"bench": 1}},
        zstd_level=level,
    )
    features = store.allocate(manifest, samples)
    for shard in features.pending():
        with features.claim(shard):
            features.fill(shard, {name: values[shard.start : shard.stop] for name, values in layers.items()})
    return features


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=25)
    parser.add_argument("--rows", type=int, default=20000)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    block = np.random.default_rng(0).standard_normal((options.rows, options.width)).astype(np.float16)
    layers = {f"block.{i:02d}": block for i in range(options.layers)}
    size = block.nbytes * options.layers / 1e9
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def clear() -> None:
            shutil.rmtree(folder / "store", ignore_errors=True)
            shutil.rmtree(folder / "npy", ignore_errors=True)
            (folder / "npy").mkdir()
            os.sync()

        def save() -> None:
            for key, values in layers.items():
                np.save(folder / "npy" / f"{key}.npy", values)

        saved = timed(save, options.repeats, clear)
        written = timed(lambda: write(folder / "store", layers, None), options.repeats, clear)
        save()
        features = open_store(folder / "store")["bench/train/m"]
        loaded = timed(lambda: [np.load(folder / "npy" / f"{key}.npy") for key in layers], options.repeats)
        read = timed(lambda: [features.rows(key) for key in layers], options.repeats)
        for measure, ours, theirs, peer in (
            ("write", written, saved, "np.save"),
            ("read", read, loaded, "np.load"),
        ):
            line = {"measure": measure, "gb": size, "gb_per_s": size / ours, f"{peer}_gb_per_s": size / theirs}
            print(json.dumps({**line, "ratio": theirs / ours}), flush=True)
        shutil.rmtree(folder / "store")
        packed = write(folder / "store", {"block.00": block}, 1)
        stored = sum(packed.files.size(key) for key in packed.files.keys(f"{packed.prefix}/block.00/c"))
        print(json.dumps({"measure": "zstd level 1, bytes on disk", "ratio": stored / block.nbytes}), flush=True)


if __name__ == "__main__":
    main()
