"""The null of a ranking in one pass over all layers against counting the shared neighbours of each permutation anew.

    python tests/benchmarks/permutation_null.py [--rows 2000] [--vision 9] [--text 6] [--permutations 200]

Tables of neighbours of layers that change little from one to the next, as those of a network do; k by the Rice rule.
Both ways in turn in one process, CPU seconds (the best of the repeats), and whether every number of both is the same.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np

from structure.pipeline.similarity.k_rules import k_of
from structure.pipeline.similarity.metric import ComparedLayers
from structure.pipeline.similarity.mutual_knn import MutualKnn


def layers(rows: int, depth: int, k: int, seed: int) -> np.ndarray:
    """(depth, rows, k) int32: the neighbours in layers of a random network with residual steps."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(rows, 8)) @ random.normal(size=(8, 64))
    tables = []
    for _ in range(depth):
        values = values + 0.35 * random.normal(size=values.shape)
        unit = values / np.linalg.norm(values, axis=1, keepdims=True)
        cosines = unit @ unit.T
        np.fill_diagonal(cosines, -2)
        tables.append(np.argsort(-cosines, axis=1)[:, :k].astype(np.int32))
    return np.stack(tables)


def timed(way: Callable[[], list[np.ndarray]], repeats: int) -> tuple[float, list[np.ndarray]]:
    """CPU seconds of the fastest of the repeats, and what it gave."""
    best = float("inf")
    for _ in range(repeats):
        began = time.process_time()
        found = way()
        best = min(best, time.process_time() - began)
    return best, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--vision", type=int, default=9)
    parser.add_argument("--text", type=int, default=6)
    parser.add_argument("--permutations", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    k = k_of("rice", given.rows)
    tables = (layers(given.rows, given.vision, k, 1), layers(given.rows, given.text, k, 2))
    metric = MutualKnn(ComparedLayers(tables=tables))
    random = np.random.default_rng(0)
    permutations = [random.permutation(given.rows) for _ in range(given.permutations)]
    plain, expected = timed(lambda: [metric.scores(one) for one in permutations], given.repeats)
    ours, found = timed(lambda: list(metric.permuted_scores(permutations)), given.repeats)
    line = {
        "measure": f"null|{given.permutations} permutations x {given.vision * given.text} pairs of {given.rows} rows",
        "seconds": round(ours, 3),
        "plain_seconds": round(plain, 3),
        "plain_over_ours": round(plain / ours, 2),
        "same": all((one == other).all() for one, other in zip(expected, found, strict=True)),
    }
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
