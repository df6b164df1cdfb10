"""A training step of SOTAlign against its formula written plainly: time and peak memory, as JSON lines.

    python tests/benchmarks/sotalign.py [--rows 4096] [--dim 512] [--only-ours]

Both maps move once: sigmoid loss of as many pairs, KLOT of as many unpaired rows, and Lion. Plainly: similarities and
plans as whole tensors, a hundred iterations of log-sum-exp over each, KLOT's closed gradient handed to autograd. Time:
both ways in turn in one process, the best of two. Memory: what a step adds to its rows, each way in a process of its
own. `--only-ours` measures the memory of this program's step alone, for large batches.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

import torch
import torch.nn.functional as F

from structure.pipeline.aligners import TrainingOptions
from structure.pipeline.aligners.few_pairs.sotalign_training import Maps, train_students
from structure.pipeline.aligners.few_pairs.unpaired_sides import UnpairedSides, unit
from structure.pipeline.progress import silent
from tests.benchmarks.klot import peak_mb, plain

AT_MOST_TIME, AT_MOST_MEMORY = 1.3, 0.5
ALPHA, RATE, DECAY = 1e-4, 1e-4, 1e-5


def ours(sides: UnpairedSides, teacher: Maps) -> Maps:
    """One step by the method's own training."""
    options = TrainingOptions.preset("paper", method="sotalign", steps=1, batch=len(sides.x))
    return train_students(sides, teacher, options, silent)[0]  # type: ignore[arg-type]


def plainly(sides: UnpairedSides, teacher: Maps) -> Maps:
    """The same, as written down."""
    maps = [each.clone().requires_grad_() for each in teacher]
    scale = torch.tensor(math.log(20.0), requires_grad=True)
    bias = torch.tensor(-10.0, requires_grad=True)
    images, texts = F.normalize(sides.pairs_x @ maps[0], dim=1), F.normalize(sides.pairs_y @ maps[1], dim=1)
    logits = scale.exp() * images @ texts.T + bias
    signs = 2 * torch.eye(len(logits)) - 1
    of_pairs = -F.logsigmoid(signs * logits).sum() / len(logits)
    student = F.normalize(sides.x @ maps[0], dim=1) @ F.normalize(sides.y @ maps[1], dim=1).T
    taught = F.normalize(sides.x @ teacher[0], dim=1) @ F.normalize(sides.y @ teacher[1], dim=1).T
    with torch.no_grad():
        _, gradient = plain(student, taught)
    (of_pairs + ALPHA * (student * gradient).sum()).backward()
    with torch.no_grad():
        for each in maps:
            assert each.grad is not None
            each.mul_(1 - RATE * DECAY).sub_((0.1 * each.grad).sign(), alpha=RATE)
    return maps[0].detach(), maps[1].detach()


WAYS = {"plain": plainly, "ours": ours}


def inputs(rows: int, dim: int) -> tuple[UnpairedSides, Maps]:
    """As many pairs and unpaired rows of two sides of this width that agree in part, and a teacher."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2 * rows, dim, generator=generator)
    y = unit(0.7 * x + torch.randn(2 * rows, dim, generator=generator))
    x, nothing = unit(x), torch.zeros(dim)
    maps = [torch.eye(dim) + 0.1 * torch.randn(dim, dim, generator=generator) / dim**0.5 for _ in range(2)]
    return UnpairedSides(x[:rows], y[:rows], x[rows:], y[rows:], nothing, nothing), (maps[0], maps[1])


def measure_peak(way: str, rows: int, dim: int) -> None:
    """Print the MB that one step adds to its inputs; a small one first, so that code is loaded."""
    WAYS[way](*inputs(16, 8))
    given = inputs(rows, dim)
    before = peak_mb()
    WAYS[way](*given)
    print(json.dumps(round(peak_mb() - before)))


def peak(way: str, rows: int, dim: int) -> int:
    """The same, in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.sotalign", "--peak", way, "--rows", str(rows), "--dim", str(dim)]
    return int(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--only-ours", action="store_true")
    parser.add_argument("--peak", choices=list(WAYS), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    shape = {"rows": asked.rows, "dim": asked.dim}
    if asked.peak:
        measure_peak(asked.peak, asked.rows, asked.dim)
        return
    if asked.only_ours:
        print(json.dumps({"measure": "memory", **shape, "ours_mb": peak("ours", asked.rows, asked.dim)}))
        return
    given = inputs(asked.rows, asked.dim)
    best, found = dict.fromkeys(WAYS, math.inf), {}
    for _ in range(2):
        for way, step in WAYS.items():
            began = time.perf_counter()
            found[way] = step(*given)
            best[way] = min(best[way], time.perf_counter() - began)
    same = [float((one == other).float().mean()) for one, other in zip(found["ours"], found["plain"], strict=True)]
    line = {"measure": "time", **shape, **{f"{way}_s": round(took, 3) for way, took in best.items()}}
    line |= {"ours_over_plain": round(best["ours"] / best["plain"], 3), "at_most": AT_MOST_TIME}
    print(json.dumps(line | {"same_weights": round(min(same), 4)}), flush=True)
    peaks = {way: peak(way, asked.rows, asked.dim) for way in WAYS}
    shares = {"ours_over_plain": round(peaks["ours"] / peaks["plain"], 3), "at_most": AT_MOST_MEMORY}
    print(json.dumps({"measure": "memory", **shape, **{f"{way}_mb": each for way, each in peaks.items()}, **shares}))


if __name__ == "__main__":
    main()
