"""What ranking costs, as JSON lines: `python tests/benchmarks/ranking.py [--large]`.

Every ratio is taken in one process, the two sides by turns, best of a few. `pairs` compares with the plain per-pair way
(full similarity of both layers, full sort, dense masks, for each pair), of which a few pairs are run and scaled to all:
its cost does not depend on the pair. `products` compares with the bare float32 matrix products of the same layers: of
`layers`, and of rows without structure in a narrow cone, as they are and less their mean. Both are taken by the clock
and by processor seconds, which a busy machine moves less. `rows` fits cost against rows. `tiles`, which runs only where
it is asked for, tries other sizes of strips and tiles than those that are set. `--large` adds 20,000 x 768
rows and the fit over 10,000 to 100,000 x 384 (about 100 processor seconds in all); `--only` runs one part.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from structure.pipeline.similarity.knn import candidates, products_with_error_bounds
from structure.pipeline.similarity.knn.neighbour_tables import neighbour_tables
from structure.pipeline.similarity.knn.neighbours import neighbours
from structure.pipeline.similarity.knn.search_plan import has_bfloat16_units
from structure.pipeline.similarity.neighbour_overlap import mutual_curve, shared_totals


def layers(count: int, rows: int, width: int, seed: int) -> list[np.ndarray]:
    """Layers as encoders give them: a shared latent part bent by tanh, noise, and a common offset that makes a cone."""
    random = np.random.default_rng(seed)
    made = []
    for depth in range(count):
        shared = np.random.default_rng(0)
        mix = random.normal(size=(48, width)).astype(np.float32)
        offset = random.normal(size=width).astype(np.float32) * (depth % 4)
        layer = np.empty((rows, width), np.float32)
        for start in range(0, rows, 4096):  # in slices, so that making a layer is not the peak of memory
            part = layer[start : start + 4096]
            latent = shared.standard_normal((len(part), 48), dtype=np.float32)
            part[:] = np.tanh(0.3 * latent @ mix) + offset
            part += 0.5 * random.standard_normal(part.shape, dtype=np.float32)
        made.append(layer)
    return made


def cones(count: int, rows: int, width: int, seed: int, *, centred: bool) -> list[np.ndarray]:
    """Layers without structure, where most is near to most, and a common offset ten times as large."""
    random = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        layer = random.standard_normal((rows, width), dtype=np.float32) + 10 * random.normal(size=width)
        made.append((layer - layer.mean(axis=0) if centred else layer).astype(np.float32))
    return made


def cost(*runs: Callable[[], object], rounds: int = 3) -> list[tuple[float, float]]:
    """`(clock, processor)` seconds of each, the best of a few, by turns so that a busy machine slows all alike."""
    times = np.full((rounds, len(runs), 2), np.inf)
    for turn in range(rounds):
        for place, run in enumerate(runs):
            clock, work = time.perf_counter(), time.process_time()
            run()
            times[turn, place] = time.perf_counter() - clock, time.process_time() - work
    return [(float(clock), float(work)) for clock, work in times.min(axis=0)]


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
    units = [torch.nn.functional.normalize(torch.from_numpy(side[3])) for side in (vision, text)]
    tables: list[np.ndarray] = []

    def ours() -> None:
        tables[:] = [
            np.stack([own.table for own in neighbour_tables(named(side), k=k).values()]) for side in (vision, text)
        ]

    found, pair = cost(ours, lambda: plain_pair(*units, k), rounds=2)
    overlap, curve = cost(lambda: shared_totals(*tables), lambda: mutual_curve(list(tables[0]), list(tables[1])))
    line: dict[str, object] = {"plain_pairs_timed": 2}
    for place, unit in enumerate(("s", "cpu_s")):
        line |= {
            f"tables_{unit}": found[place],
            f"overlap_{unit}": overlap[place],
            f"all_k_{unit}": curve[place],
            f"plain_pair_{unit}": pair[place],
            f"plain_scaled_{unit}": pair[place] * count**2,
            f"times_faster_{unit}": pair[place] * count**2 / (found[place] + overlap[place]),
        }
    report(
        benchmark="pairs",
        rows=rows,
        width=width,
        k=k,
        layers=[count, count],
        **line,
        limit=60,
        goal=100,
        score=shared_totals(*tables)[3, 3] / (rows * k),
        score_plain=plain_pair(*units, k),
    )


def named(side: list[np.ndarray]) -> dict[str, np.ndarray]:
    return {f"block.{depth:02}": layer for depth, layer in enumerate(side)}


def compare_products(kind: str, side: list[np.ndarray], k: int) -> None:
    """All layers of one side, against the bare products of the same layers."""
    count, (rows, width) = len(side), side[0].shape
    units = [torch.nn.functional.normalize(torch.from_numpy(layer)) for layer in side]
    out = torch.empty(rows, rows)

    def products() -> None:
        for unit in units:
            torch.mm(unit, unit.T, out=out)

    def ours() -> None:
        neighbour_tables(named(side), k=k)

    ours()
    mine, bare = cost(ours, products)
    report(
        benchmark="products",
        kind=kind,
        layers=count,
        rows=rows,
        width=width,
        k=k,
        bfloat16=has_bfloat16_units(),
        layer_s=mine[0] / count,
        product_s=bare[0] / count,
        ratio=mine[0] / bare[0],
        layer_cpu_s=mine[1] / count,
        product_cpu_s=bare[1] / count,
        ratio_cpu=mine[1] / bare[1],
        limit=0.6 if has_bfloat16_units() else 0.9,
        goal=0.35 if has_bfloat16_units() else 0.8,
    )


def grow(sizes: list[int], width: int) -> None:
    """One layer of each size, and the power of rows that its processor seconds follow."""
    took = []
    for rows in sizes:
        layer = layers(1, rows, width, 4)[0]
        before = peak_mib()
        ((clock, work),) = cost(lambda layer=layer: neighbours(layer, k=35), rounds=1)
        took.append(work)
        report(
            benchmark="rows",
            rows=rows,
            width=width,
            k=35,
            layer_s=clock,
            layer_cpu_s=work,
            peak_mib=peak_mib(),
            before_mib=before,
            limit_mib=2000,
        )
    if len(sizes) > 1:
        power = np.polyfit(np.log(sizes), np.log(took), 1)[0]
        report(benchmark="growth", of="cpu seconds", width=width, rows=sizes, power=float(power), expected=2)


def sweep_tiles() -> None:
    """A layer of each kind on one thread with other strips and tiles: processor seconds over those as they are set."""
    sides = [layers(3, 5000, 768, 3)[2], cones(1, 5000, 768, 3, centred=False)[0]]
    set_sizes = candidates.STRIP, products_with_error_bounds.TILE_BYTES
    sizes = [(strip, tile << 20) for strip in (256, 384, 512, 1024) for tile in (4, 8, 16)]
    torch.set_num_threads(1)

    def run(strip: int, tile: int) -> None:
        candidates.STRIP, products_with_error_bounds.TILE_BYTES = strip, tile
        for layer in sides:
            neighbours(layer, k=35)

    took = cost(*(partial(run, *size) for size in sizes))
    work = {size: work for size, (_, work) in zip(sizes, took, strict=True)}
    over = {f"{strip} x {tile >> 20}": round(work[strip, tile] / work[set_sizes], 3) for strip, tile in sizes}
    report(benchmark="tiles", bfloat16=has_bfloat16_units(), unit="rows x MiB", set=set_sizes, over=over)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument(
        "--large", action="store_true", help="also 20,000 x 768 and up to 100,000 x 384 rows (minutes)"
    )
    arguments.add_argument("--only", choices=["rows", "products", "pairs", "tiles"], help="one part of it")
    chosen = arguments.parse_args()
    if chosen.only in (None, "rows"):
        grow([2500, 5000, 10000], 768)
        if chosen.large:
            grow([20000], 768)
            grow([10000, 20000, 40000, 100000], 384)
    if chosen.only in (None, "products"):
        compare_products("structured", layers(6, 5000, 768, 3), 35)
        compare_products("cone", cones(3, 5000, 768, 3, centred=False), 35)
        compare_products("cone less its mean", cones(3, 5000, 768, 3, centred=True), 35)
        if chosen.large:
            compare_products("cone", cones(1, 20000, 768, 3, centred=False), 35)
    if chosen.only in (None, "pairs"):
        compare_pairs(5000, 768, 35, 13)
    if chosen.only == "tiles":
        sweep_tiles()


if __name__ == "__main__":
    main()
