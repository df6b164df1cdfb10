"""Exact search in a million stored rows, as JSON lines: `python tests/benchmarks/search.py [--rows N] [--width D]`.

A store gets `rows` x `width` unit rows in float16, in shards as an aligner's embeddings lie there, and is searched with
1 and with 200 queries. Both sides run in one process, by turns, best of a few: `top_k` over the stored shards, and the
bare product and top-k of torch over one array in memory (float16 rows made float32 in blocks of the same bytes, as
float16 products on a processor are many times slower). `same`: queries whose rows are those of float64 brute force,
ties by row. `peak_bytes`: what a search of 200 queries takes besides the mapped file, of the `memory` that it has.

Then the kinds of `structure index` over `--index-rows` rows of the same width (0: none): random points of 32
dimensions in `width`, with noise, for rows without any structure have no near ones. Recall@10 and milliseconds a query,
of the index and of exact search, are those that `structure index` prints.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from structure.pipeline.inference.index_building import measure
from structure.pipeline.inference.index_kinds import KINDS
from structure.pipeline.similarity.knn.top_k import GalleryArray, top_k
from structure.store import Column, FeatureSet, Manifest, open_store
from structure.store.shard_writer import ShardWriter

SHARD_ROWS, MEMORY, K = 2048, 256 * 2**20, 10


def written(folder: Path, rows: int, width: int) -> FeatureSet:
    """Random unit rows in float16, one of 1,000 the same as another."""
    manifest = Manifest(
        dataset="synthetic",
        split="all",
        encoder="none",
        modality="vision",
        rows_of="items",
        rows=rows,
        shard_rows=SHARD_ROWS,
        columns=(Column("aligned", width, "float16"),),
        identity={"rows": rows},
    )
    features = FeatureSet.allocate(open_store(folder).files, "embeddings/x/y", manifest, list(map(str, range(rows))))
    random = np.random.default_rng(0)
    for shard in manifest.shards:
        values = random.standard_normal((len(shard), width), dtype=np.float32)
        values[::1000] = 1.0
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        with ShardWriter(features, shard) as writer:
            writer.put("aligned", range(shard.start, shard.stop), values)
            writer.commit()
    return features


class Stored:
    """The gallery of a feature set, as `SplitGallery` reads it."""

    largest = 1.001

    def __init__(self, features: FeatureSet) -> None:
        self.features, self.checked = features, set[str]()
        self.shape = (len(features), features.column("aligned").width)
        self.reader = features.column_reader("aligned")

    def pieces(self, start: int, stop: int) -> Sequence[np.ndarray]:
        return self.reader.view(start, stop, self.features.completion.known(), self.checked)


class Peak:
    """The most memory of its own that the process took within, beyond what it had before, seen every millisecond;
    mapped files do not count."""

    def __enter__(self) -> Peak:
        self.before, self.bytes, self.ended = self._own(), 0, threading.Event()
        self.watcher = threading.Thread(target=self._watch)
        self.watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.watcher.join()

    def _watch(self) -> None:
        while not self.ended.wait(0.001):
            self.bytes = max(self.bytes, self._own() - self.before)

    def _own(self) -> int:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("RssAnon:")[2].split()[0]) * 1024


def bare(queries: torch.Tensor, rows: torch.Tensor, block: int = 65536) -> torch.Tensor:
    """The usual way: products in blocks, top-k of each, top-k of these."""
    scores, found = [], []
    for start in range(0, len(rows), block):
        best = (queries @ rows[start : start + block].float().T).topk(K, dim=1)
        scores.append(best.values)
        found.append(best.indices + start)
    order = torch.cat(scores, dim=1).topk(K, dim=1).indices
    return torch.cat(found, dim=1).gather(1, order)


def brute_force(queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The first K in float64, equal ones by row: scores rounded to 2**-40, for sums of float64 are not exact."""
    found = []
    for start in range(0, len(queries), 8):
        part = queries[start : start + 8].astype(np.float64)
        scores = np.concatenate(
            [part @ rows[a : a + 65536].astype(np.float64).T for a in range(0, len(rows), 65536)], 1
        )
        scores = np.round(scores * 2.0**40)
        found += [np.lexsort((np.arange(len(row)), -row))[:K] for row in scores]
    return np.array(found)


def cost(*runs: Callable[[], object], rounds: int = 3) -> list[tuple[float, float]]:
    """`(clock, processor)` seconds of each, the best of a few, by turns so that a busy machine slows all alike."""
    times = np.full((rounds, len(runs), 2), np.inf)
    for turn in range(rounds):
        for place, run in enumerate(runs):
            clock, work = time.perf_counter(), time.process_time()
            run()
            times[turn, place] = time.perf_counter() - clock, time.process_time() - work
    return [(float(clock), float(work)) for clock, work in times.min(axis=0)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--exact", type=int, default=200, help="queries that are compared with float64 brute force")
    parser.add_argument("--index-rows", type=int, default=100_000)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS))
    given = parser.parse_args()
    if given.rows:
        exact_search(given)
    if given.index_rows:
        indexes(given)


def exact_search(given: argparse.Namespace) -> None:
    """Against the bare product and float64 brute force."""
    with tempfile.TemporaryDirectory() as folder:
        gallery = Stored(written(Path(folder), given.rows, given.width))
        random = np.random.default_rng(1)
        queries = random.standard_normal((200, given.width)).astype(np.float32)
        queries[0] = 1.0
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
        with Peak() as peak:
            found = top_k(queries, gallery, k=K, memory=MEMORY)
        whole = np.concatenate(gallery.pieces(0, given.rows))
        same = int((brute_force(queries[: given.exact], whole) == found.rows[: given.exact]).all(axis=1).sum())
        rows = torch.from_numpy(whole)
        for count in (1, 200):
            some = torch.from_numpy(queries[:count])
            ours, theirs = cost(
                lambda some=some: top_k(some.numpy(), gallery, k=K, memory=MEMORY), lambda some=some: bare(some, rows)
            )
            line = {"measure": f"search|{count} queries", "rows": given.rows, "width": given.width}
            line |= {"seconds": ours[0], "bare_seconds": theirs[0], "times_bare": ours[0] / theirs[0]}
            line |= {"times_bare_processor": ours[1] / theirs[1], "same": same, "of": given.exact}
            print(json.dumps(line | {"peak_bytes": peak.bytes, "memory": MEMORY, "threads": torch.get_num_threads()}))


def indexes(given: argparse.Namespace) -> None:
    """Each kind of index: built, measured, and what it takes."""
    random = np.random.default_rng(2)
    directions = random.standard_normal((32, given.width), dtype=np.float32)

    def drawn(count: int) -> np.ndarray:
        values = random.standard_normal((count, 32), dtype=np.float32) @ directions
        values += random.standard_normal((count, given.width), dtype=np.float32)
        return values / np.linalg.norm(values, axis=1, keepdims=True)

    rows = np.concatenate([drawn(1 << 16).astype(np.float16) for _ in range(0, given.index_rows, 1 << 16)])
    gallery, queries = GalleryArray(rows[: given.index_rows]), drawn(400)
    every = np.arange(given.index_rows)
    for name in given.kinds:
        kind, began = KINDS[name], time.perf_counter()
        index = kind.make(given.width, given.index_rows)
        if count := kind.training_rows(given.index_rows):
            index.train(gallery.values[:count].astype(np.float32))
        for start in range(0, given.index_rows, 4096):
            index.add(gallery.values[start : start + 4096].astype(np.float32))
        seconds = time.perf_counter() - began
        effort, found = measure(kind, index, gallery, every, queries, are="drawn alike", target=0.95)
        line = {"measure": f"index|{name}", "rows": given.index_rows, "width": given.width, "build_seconds": seconds}
        line |= {"bytes": given.index_rows * kind.bytes_per_row(given.width), "effort": effort}
        print(json.dumps(line | found.to_json()), flush=True)


if __name__ == "__main__":
    main()
