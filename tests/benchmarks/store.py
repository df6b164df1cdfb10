"""Writing, reading and shuffled reading of a feature set beside NumPy, and bytes of tokens, in one process.

    python tests/benchmarks/store.py [--layers 25 --rows 20000 --width 1024 --batch 4096 --repeats 5]

Prints one JSON line a measure, with the `limit` that its `ratio` is compared with, if there is one. Both sides of a
measure take turns, page cache warm; gigabytes a second are medians, `ratio` is ours over theirs (the median of the
turns' ratios), `cpu_ratio` the same of processor seconds, which other work on the machine moves less. Writing includes
what `np.save` does not do: a finite check, a CRC-32C of every byte, fsync, and completion markers. Without fsync NumPy
writes to the page cache alone, so that writing is also measured where there is no disk to wait for (`--without-disk`,
a folder in memory).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from structure.store import Column, FeatureSet, Manifest, SampleItem, Samples, Store, open_store
from structure.store.column_layout import plan_tokens
from structure.store.lazy_rows import Rows
from structure.store.manifest import lengths_digest
from structure.store.remote_files import RemoteFiles
from structure.store.shard_ranges import shard_size
from structure.store.shard_writer import ShardWriter, write_shard
from structure.store.shuffled_batches import Shuffled


def turns(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    repeats: int,
    prepare: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """Median seconds of both, and the medians of the ratios of wall and processor time (above 1: ours is faster)."""
    seen = []
    for _ in range(repeats):
        turn = []
        for work in (theirs, ours):
            prepare()
            wall, cpu = time.perf_counter(), time.process_time()
            kept = work()
            turn += [time.perf_counter() - wall, time.process_time() - cpu]
            del kept
        seen.append(turn)
    return {
        "ours": statistics.median(turn[2] for turn in seen),
        "theirs": statistics.median(turn[0] for turn in seen),
        "ratio": statistics.median(turn[0] / turn[2] for turn in seen),
        "cpu_ratio": statistics.median(turn[1] / turn[3] for turn in seen),
    }


def say(measure: str, gigabytes: float, peer: str, found: dict[str, float], **more: object) -> None:
    tell(
        measure=measure,
        gb=gigabytes,
        gb_per_s=gigabytes / found["ours"],
        **{f"{peer}_gb_per_s": gigabytes / found["theirs"]},
        ratio=found["ratio"],
        cpu_ratio=found["cpu_ratio"],
        **more,
    )


def tell(**line: object) -> None:
    print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in line.items()}), flush=True)


def manifest_of(encoder: str, rows: int, columns: tuple[Column, ...], level: int | None = None) -> Manifest:
    return Manifest(
        dataset="bench",
        split="train",
        encoder=encoder,
        modality="vision",
        rows_of="items",
        rows=rows,
        shard_rows=shard_size(rows, sum(column.vector_bytes for column in columns)),
        columns=columns,
        identity={"encoder": {"bench": encoder}},
        zstd_level=level,
    )


def write(
    store: Store, samples: Samples, encoder: str, layers: dict[str, np.ndarray], level: int | None = None
) -> FeatureSet:
    columns = tuple(Column(name, values.shape[1], str(values.dtype)) for name, values in layers.items())
    features = store.allocate(manifest_of(encoder, len(samples), columns, level), samples)
    for shard in features.pending():
        write_shard(features, shard, {name: values[shard.start : shard.stop] for name, values in layers.items()})
    return features


@contextmanager
def peak_memory() -> Iterator[list[float]]:
    """Gigabytes of memory that were taken at most within, over what there was before; mapped files count."""
    peak, ended = [0.0], threading.Event()

    def resident() -> int:
        text = Path("/proc/self/status").read_text()
        return int(text.split("VmRSS:")[1].split()[0]) * 1024

    before = resident()

    def watch() -> None:
        while not ended.wait(0.002):
            peak[0] = max(peak[0], (resident() - before) / 1e9)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def plain(store: Store, samples: Samples, folder: Path, options: argparse.Namespace, where: str = "") -> None:
    """np.save and np.load, in that folder."""
    block = np.random.default_rng(0).standard_normal((options.rows, options.width)).astype(np.float16)
    layers = {f"block.{i:02d}": block for i in range(options.layers)}
    size = block.nbytes * options.layers / 1e9
    key = "bench/train/m"

    def clear() -> None:
        store.files.remove_tree(f"features/{key}")
        shutil.rmtree(folder / "npy", ignore_errors=True)
        (folder / "npy").mkdir()
        os.sync()

    def save(sync: bool) -> None:
        for name, values in layers.items():
            with open(folder / "npy" / f"{name}.npy", "wb") as file:
                np.save(file, values)
                if sync:
                    file.flush()
                    os.fsync(file.fileno())

    for peer, sync, limit in (("np.save", False, {"limit": 0.5}), ("np.save+fsync", True, {})):
        found = turns(lambda: write(store, samples, "m", layers), lambda sync=sync: save(sync), options.repeats, clear)
        say(f"write{where}", size, peer, found, **limit)
    clear()
    save(False)
    features = write(store, samples, "m", layers)

    def load() -> list[np.ndarray]:
        return [np.load(folder / "npy" / f"{name}.npy") for name in layers]

    found = turns(lambda: [features.rows(name) for name in layers], load, options.repeats)
    say(f"read{where}", size, "np.load", found, limit=1.0)
    clear()
    if where:
        return
    packed = write(store, samples, "packed", {"block.00": block}, 1)
    stored = sum(packed.files.size(key) for key in packed.files.keys(f"{packed.prefix}/block.00/c"))
    tell(measure="zstd level 1, bytes on disk", ratio=stored / block.nbytes)
    clear()


def shuffled(store: Store, samples: Samples, options: argparse.Namespace) -> None:
    """One epoch of batches of two layers: from shards in bounded memory, from the reader's own memory, and by NumPy."""
    random = np.random.default_rng(0)
    shape = len(samples), options.width
    both = {name: random.standard_normal(shape, dtype=np.float32).astype(np.float16) for name in ("image", "text")}
    sets = [write(store, samples, name, {"block.00": values}) for name, values in both.items()]
    sources = [Rows(features, "block.00") for features in sets]
    size = sum(values.nbytes for values in both.values()) / 1e9
    budget = int(options.memory * 1e9)
    whole = Shuffled(sources, batch=options.batch)
    numbers = iter(range(10**6))

    def epoch(reader: Shuffled) -> None:
        for _, (image, text) in reader.epoch(0, next(numbers)):
            assert len(image) == len(text)

    def by_numpy() -> None:
        order = random.permutation(len(samples))
        for start in range(0, len(order), options.batch):
            chosen = order[start : start + options.batch]
            assert len(both["image"][chosen]) == len(both["text"][chosen])

    with peak_memory() as peak:
        windows = Shuffled(sources, batch=options.batch, memory=budget)
        for _ in range(2):
            epoch(windows)
    more = {"batch": options.batch, "peak_gb": peak[0], "memory_gb": budget / 1e9, "peak_limit_gb": 1.1 * budget / 1e9}
    assert not windows.in_memory
    epoch(whole)  # reads it
    found = turns(lambda: epoch(windows), lambda: epoch(whole), options.repeats)
    say("shuffled read", size, "in memory", found, limit=0.8, **more)
    say("gathered by NumPy", size, "NumPy in memory", turns(lambda: epoch(windows), by_numpy, options.repeats))
    for features in sets:
        store.files.remove_tree(features.prefix)


def tokens(store: Store, samples: Samples, options: argparse.Namespace) -> None:
    """Bytes on disk over bytes of the real tokens: captions, and documents that come sorted by their length."""
    random = np.random.default_rng(0)
    captions = np.clip(random.lognormal(2.5, 0.25, len(samples)).astype(np.int64), 5, 64)
    documents = np.sort(np.clip(random.lognormal(4.5, 1.0, len(samples)).astype(np.int64), 2, 512))
    for name, lengths in (("captions", captions), ("documents by length", documents)):
        manifest = manifest_of(name.split()[0], len(samples), (Column("block.00", 8),))
        column = plan_tokens(Column("block.00", 64), manifest.shards, lengths=lengths)
        manifest = replace(manifest, tokens=(column,), lengths=lengths_digest(lengths))
        features = store.allocate(manifest, samples, lengths)
        for shard in features.pending():
            counts = lengths[shard.start : shard.stop]
            values = np.ones((int(counts.sum()), 64), dtype=np.float16)
            rows = range(shard.start, shard.stop)
            with ShardWriter(features, shard) as writer:
                writer.put("tokens/block.00", rows, values, counts)
                writer.put("block.00", rows, np.zeros((len(shard), 8), dtype=np.float16))
                writer.commit()
        stored = sum(store.files.size(key) for key in store.files.keys(f"{features.prefix}/tokens"))
        real, padded = int(lengths.sum()) * 128, len(lengths) * int(lengths.max()) * 128
        tell(measure=f"token bytes, {name}", ratio=stored / real, limit=1.1, padded_ratio=padded / real)
        store.files.remove_tree(features.prefix)


class Late:
    """A file system whose answers to reading take some seconds more, as those of a service far away do."""

    def __init__(self, file_system: Any, seconds: float) -> None:
        self._inner, self._seconds = file_system, seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def cat_file(self, *arguments: Any, **options: Any) -> Any:
        time.sleep(self._seconds)
        return self._inner.cat_file(*arguments, **options)


def remote(rows: int, width: int, repeats: int) -> None:
    """A layer from an S3 server on loopback (moto, in a process of its own): chunks in parallel, and one by one."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    os.environ |= {"AWS_ACCESS_KEY_ID": "t", "AWS_SECRET_ACCESS_KEY": "t", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ |= {"AWS_ENDPOINT_URL": address}
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        import s3fs

        for _ in range(600):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)
        s3fs.S3FileSystem().mkdir("bucket")
        store = open_store("s3://bucket/store")
        samples = store.put_samples(Samples.build("bench", "train", [SampleItem(f"i{i}") for i in range(rows)]))
        block = np.random.default_rng(0).standard_normal((rows, width)).astype(np.float16)
        features = write(store, samples, "m", {"block.00": block})
        assert isinstance(features.files, RemoteFiles)
        near = features.files._fs

        def read(threads: int) -> None:
            features.files.readers = threads
            assert len(features.rows("block.00")) == rows

        for late in (0.0, 0.02):
            features.files._fs = Late(near, late)
            found = turns(lambda: read(RemoteFiles.readers), lambda: read(1), repeats)
            what = f"remote read, answers {late * 1000:.0f} ms late, {len(features.manifest.shards)} chunks"
            say(what, block.nbytes / 1e9, "one by one", found)
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=25)
    parser.add_argument("--rows", type=int, default=20000)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--shuffled-rows", type=int, default=200000)
    parser.add_argument("--memory", type=float, default=0.4, help="gigabytes that shuffled reading may take")
    parser.add_argument("--repeats", type=int, default=5)
    memory = Path("/dev/shm")
    parser.add_argument("--without-disk", type=Path, default=memory if memory.is_dir() else None, metavar="FOLDER")
    parser.add_argument("--only", choices=("plain", "shuffled", "tokens", "remote"))
    options = parser.parse_args()

    def table(store: Store, rows: int) -> Samples:
        store.files.remove_tree("samples")
        return store.put_samples(Samples.build("bench", "train", [SampleItem(f"i{i}") for i in range(rows)]))

    with tempfile.TemporaryDirectory() as name:
        store = open_store(Path(name) / "store")
        if options.only in (None, "plain"):
            plain(store, table(store, options.rows), Path(name), options)
        if options.only in (None, "shuffled"):
            shuffled(store, table(store, options.shuffled_rows), options)
        if options.only in (None, "tokens"):
            tokens(store, table(store, options.rows), options)
    if options.only in (None, "plain") and options.without_disk is not None:
        with tempfile.TemporaryDirectory(dir=options.without_disk) as name:
            store = open_store(Path(name) / "store")
            plain(store, table(store, options.rows), Path(name), options, ", without a disk")
    if options.only in (None, "remote"):
        remote(options.rows, options.width, options.repeats)


if __name__ == "__main__":
    main()
