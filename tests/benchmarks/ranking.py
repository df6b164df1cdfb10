"""What ranking costs, as JSON lines: `python tests/benchmarks/ranking.py [--large]`.

Every ratio is taken in one process, the two sides by turns, best of a few. `pairs` compares with the plain per-pair way
(full similarity of both layers, full sort, dense masks, for each pair), of which a few pairs are run and scaled to all:
its cost does not depend on the pair. `products` compares with the bare float32 matrix products of the same layers, by
the clock and by processor seconds, which a busy machine moves less. `--large` adds 20,000 x 768 and 100,000 x 384 rows;
`--only` runs one part.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable

import numpy as np
import torch

from structure.pipeline.similarity.neighbours import neighbours
from structure.pipeline.similarity.overlap import mutual_curve, shared_totals
from structure.pipeline.similarity.products import has_bfloat16_units
from structure.pipeline.similarity.tables import neighbour_tables


def layers(count: int, rows: int, width: int, seed: int) -> list[np.ndarray]:
    """Layers as encoders give them: a shared latent part bent by tanh, noise, and a common offset that makes a cone."""
    random = np.random.default_rng(seed)
    latent = np.random.default_rng(0).normal(size=(rows, 48)).astype(np.float32)
    made = []
    for depth in range(count):
        mix = random.normal(size=(48, width)).astype(np.float32)
        noise = random.standard_normal((rows, width), dtype=np.float32)
        offset = random.normal(size=width).astype(np.float32) * (depth % 4)
        made.append(np.tanh(0.3 * latent @ mix) + 0.5 * noise + offset)
    return made


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def fastest(*runs: Callable[[], object], rounds: int = 5) -> list[float]:
    """The best time of each, taken by turns so that a busy machine slows all alike."""
    return [min(times) for times in zip(*([seconds(run) for run in runs] for _ in range(rounds)), strict=True)]


def cpu_seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def plain_pair(x: torch.Tensor, y: torch.Tensor, k: int) -> float:
    """Mutual kNN the way it is usually written, from unit rows."""
    masks = []
    for unit in (x, y):
        similarity = unit @ unit.T
        similarity.fill_diagonal_(-1e8)
        nearest = similarity.argsort(dim=1, descending=True)[:, :k]
        mask = torch.zeros(len(unit), len(unit))
        mask[torch.arange(len(unit))[:, None], nearest] = 1.0
        masks.append(mask)
    return float(((masks[0] * masks[1]).sum(dim=1) / k).mean())


def report(**line: object) -> None:
    print(
        json.dumps({key: round(value, 4) if isinstance(value, float) else value for key, value in line.items()}),
        flush=True,
    )


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def compare_pairs(rows: int, width: int, k: int, count: int) -> None:
    vision, text = layers(count, rows, width, 1), layers(count, rows, width, 2)
    start = time.perf_counter()
    v, t = (np.stack([own.table for own in neighbour_tables(named(side), k=k).values()]) for side in (vision, text))
    tables = time.perf_counter() - start
    totals = seconds(lambda: shared_totals(v, t))
    curve = seconds(lambda: mutual_curve(list(v), list(t)))
    x, y = (torch.nn.functional.normalize(torch.from_numpy(side[3])) for side in (vision, text))
    pair = min(seconds(lambda: plain_pair(x, y, k)) for _ in range(2))
    score = shared_totals(v, t)[3, 3] / (rows * k)
    scaled = pair * count**2
    report(
        benchmark="pairs",
        rows=rows,
        width=width,
        k=k,
        layers=[count, count],
        tables_s=tables,
        overlap_s=totals,
        all_k_s=curve,
        plain_pair_s=pair,
        plain_pairs_timed=2,
        plain_scaled_s=scaled,
        times_faster=scaled / (tables + totals),
        score=score,
        score_plain=plain_pair(x, y, k),
    )


def named(side: list[np.ndarray]) -> dict[str, np.ndarray]:
    return {f"block.{depth:02}": layer for depth, layer in enumerate(side)}


def compare_products(rows: int, width: int, k: int, count: int) -> None:
    """All layers of one side, against the bare products of the same layers."""
    side = layers(count, rows, width, 3)
    units = [torch.nn.functional.normalize(torch.from_numpy(layer)) for layer in side]
    out = torch.empty(rows, rows)

    def products() -> None:
        for unit in units:
            torch.mm(unit, unit.T, out=out)

    def ours() -> None:
        neighbour_tables(named(side), k=k)

    ours()
    clock = fastest(ours, products, rounds=3)
    work = [min(cpu_seconds(run) for _ in range(3)) for run in (ours, products)]
    report(
        benchmark="products",
        layers=count,
        rows=rows,
        width=width,
        k=k,
        bfloat16=has_bfloat16_units(),
        layer_s=clock[0] / count,
        product_s=clock[1] / count,
        ratio=clock[0] / clock[1],
        layer_cpu_s=work[0] / count,
        product_cpu_s=work[1] / count,
        ratio_cpu=work[0] / work[1],
    )


def grow(sizes: list[int], width: int) -> None:
    took = []
    for rows in sizes:
        layer = layers(1, rows, width, 4)[0]
        before = peak_mib()
        start = time.perf_counter()
        took.append(cpu_seconds(lambda layer=layer: neighbours(layer, k=35)))
        report(
            benchmark="rows",
            rows=rows,
            width=width,
            k=35,
            layer_s=time.perf_counter() - start,
            layer_cpu_s=took[-1],
            peak_mib=peak_mib(),
            before_mib=before,
        )
    power = np.polyfit(np.log(sizes), np.log(took), 1)[0]
    report(benchmark="growth", of="cpu seconds", width=width, rows=sizes, power=float(power))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument(
        "--large", action="store_true", help="also 20,000 x 768 and 100,000 x 384 rows (a minute or more)"
    )
    arguments.add_argument("--only", choices=["rows", "products", "pairs"], help="one part of it")
    chosen = arguments.parse_args()
    if chosen.only in (None, "rows"):
        grow([2500, 5000, 10000, *([20000] if chosen.large else [])], 768)
        if chosen.large:
            grow([25000, 50000, 100000], 384)
    if chosen.only in (None, "products"):
        compare_products(5000, 768, 35, 6)
    if chosen.only in (None, "pairs"):
        compare_pairs(5000, 768, 35, 13)


if __name__ == "__main__":
    main()
