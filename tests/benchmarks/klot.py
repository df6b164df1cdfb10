"""KLOT with its gradient against the formula written plainly: time and peak memory, as JSON lines.

    python tests/benchmarks/klot.py [--rows 2048]

Plainly: a hundred iterations of log-sum-exp over each of both matrices, and the plans as whole tensors. Time: both ways
in turn in one process, the best of two. Memory: what a call adds to its inputs, each way in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

import torch
import torch.nn.functional as F

from structure.pipeline.aligners.losses.klot import klot

AT_MOST_TIME, AT_MOST_MEMORY = 1.3, 0.5


def plain(student: torch.Tensor, teacher: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The value and its gradient, as written down."""
    logs = []
    for similarities, epsilon in ((student, 0.05), (teacher, 0.005)):
        scaled, even = similarities / epsilon, -math.log(len(similarities))
        v = torch.zeros(len(similarities))
        for _ in range(100):
            u = even - torch.logsumexp(scaled + v, 1)
            v = even - torch.logsumexp(scaled + u[:, None], 0)
        u = (u + even - torch.logsumexp(scaled + v, 1)) / 2
        logs.append(scaled + u[:, None] + v)
    ours, theirs = (each.exp() for each in logs)
    return (theirs * (logs[1] - logs[0])).sum(), (ours - theirs) / 0.05


def ours(student: torch.Tensor, teacher: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same by `klot`."""
    moving = student.requires_grad_()
    value = klot(moving, teacher)
    value.backward()
    assert moving.grad is not None
    gradient, moving.grad = moving.grad, None
    return value.detach(), gradient


WAYS = {"plain": plain, "ours": ours}


def similarities(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(rows, rows) cosines of a student and a teacher that agree in part."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 64, generator=generator)
    y = 0.7 * x + torch.randn(rows, 64, generator=generator)
    unit = [[F.normalize(side[:, :width], dim=1) for side in (x, y)] for width in (64, 32)]
    return unit[0][0] @ unit[0][1].T, unit[1][0] @ unit[1][1].T


def peak_mb() -> float:
    """The most memory this process ever held, MB (Linux)."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def measure_peak(way: str, rows: int) -> None:
    """Print the MB that one call adds to its inputs; a small call first, so that code is loaded."""
    WAYS[way](*similarities(16))
    inputs = similarities(rows)
    before = peak_mb()
    WAYS[way](*inputs)
    print(json.dumps(round(peak_mb() - before)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--peak", choices=list(WAYS), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.peak:
        measure_peak(asked.peak, asked.rows)
        return
    inputs = similarities(asked.rows)
    best = dict.fromkeys(WAYS, math.inf)
    found = {}
    for _ in range(2):
        for way, call in WAYS.items():
            began = time.perf_counter()
            found[way] = call(*inputs)
            best[way] = min(best[way], time.perf_counter() - began)
    apart = float((found["ours"][1] - found["plain"][1]).detach().abs().max() / found["plain"][1].detach().abs().max())
    line = {"measure": "time", "rows": asked.rows, **{f"{way}_s": round(took, 3) for way, took in best.items()}}
    line |= {"ours_over_plain": round(best["ours"] / best["plain"], 3), "at_most": AT_MOST_TIME}
    print(json.dumps(line | {"gradients_apart": apart}), flush=True)
    peaks = {}
    for way in WAYS:
        command = [sys.executable, __file__, "--peak", way, "--rows", str(asked.rows)]
        peaks[way] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    shares = {"ours_over_plain": round(peaks["ours"] / peaks["plain"], 3), "at_most": AT_MOST_MEMORY}
    print(json.dumps({"measure": "memory", **{f"{way}_mb": peak for way, peak in peaks.items()}, **shares}))


if __name__ == "__main__":
    main()
