"""Methods without gradient descent at many rows: beside the bare way, within their bounds, and as the dry run says.

    python tests/benchmarks/methods_at_scale.py [--rows 100000] [--million] [--only bare,fits,forecast]

Rows are random features with a common signal, 384 wide, in half precision, imported into a store of their own in a
temporary folder. `bare`: a whole `align` (reading, Gram matrices, held-out recall, the record) beside the same products
of float64 over chunks of memory-mapped arrays in torch, alternating in one process: `ratio` of processor seconds, the
median of three turns. `fits`: every such method under `--memory 1GB` with a test fraction, each in a process of its
own, its processor seconds and its peak memory, the program with it. `forecast`: the dry run of the same commands at
three sizes, `seconds_ratio` and `memory_ratio` of the larger over the smaller of what is told and what happens; seconds
of a run are those of its start and the other processor seconds over two processors, which other work on the machine
moves less than wall time. With
`--million` the bare way and the forecast have 1,000,000 rows, of which both sides take 1.5 GB. One JSON line a figure.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from structure.pipeline import align
from structure.pipeline.aligners import TrainingOptions
from structure.pipeline.aligners.options import applicable

WIDTH, SIGNAL, CHUNK, MEMORY = 384, 64, 8192, "1GB"
METHODS = ("identity", "mean-shift", "relative", "procrustes", "ridge", "csa", "csa + R_S", "asif", "kernel-csa")
BARE = {"ridge": ("xx", "xy"), "procrustes": ("xy",)}
LAYERS = "features,features"
PROGRAM = str(Path(sys.executable).parent / "structure")


def structure(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    return subprocess.run([PROGRAM, *arguments], check=True, capture_output=True, text=True)


def make(folder: Path, rows: int) -> Path:
    """A store with both sides of so many rows; the arrays stay beside it."""
    store, draws = folder / f"store-{rows}", np.random.default_rng(0)
    mixing = draws.standard_normal((2, SIGNAL, WIDTH), dtype=np.float32)
    names = [folder / f"{side}-{rows}.npy" for side in ("vision", "text")]
    sides = [np.lib.format.open_memmap(name, mode="w+", dtype=np.float16, shape=(rows, WIDTH)) for name in names]
    for start in range(0, rows, CHUNK):
        count = min(CHUNK, rows - start)
        common = draws.standard_normal((count, SIGNAL), dtype=np.float32)
        for side, mix in zip(sides, mixing, strict=True):
            noise = draws.standard_normal((count, WIDTH), dtype=np.float32)
            side[start : start + count] = common @ mix / 2 + 2 * noise
    for name, side, modality in zip(names, sides, ("vision", "text"), strict=True):
        side.flush()
        structure(
            "import",
            str(name),
            "--model",
            modality,
            "--modality",
            modality,
            "--dataset",
            "d",
            "--store",
            str(store),
            "--quiet",
        )
    return store


def options_of(name: str) -> TrainingOptions:
    """Of a method with its defaults; without R_S where it is not named."""
    method, _, refined = name.partition(" + ")
    regulariser = {"weight": 10.0} if refined else {"regulariser": "none"}
    return TrainingOptions(**applicable({"method": method, "device": "cpu", **regulariser}))


def bare(folder: Path, rows: int, products: tuple[str, ...]) -> torch.Tensor:
    """Means and products of float64, chunk by chunk, and the map that follows from them."""
    files = {
        name: np.load(folder / f"{side}-{rows}.npy", mmap_mode="r") for name, side in (("x", "vision"), ("y", "text"))
    }
    sums = {name: torch.zeros(WIDTH, dtype=torch.float64) for name in files}
    total = {name: torch.zeros(WIDTH, WIDTH, dtype=torch.float64) for name in products}
    for start in range(0, rows, CHUNK):
        part = {name: torch.from_numpy(np.array(side[start : start + CHUNK])).double() for name, side in files.items()}
        for name, values in part.items():
            sums[name] += values.sum(dim=0)
        for name, product in total.items():
            product += part[name[0]].T @ part[name[1]]
    centred = {name: made / rows - torch.outer(sums[name[0]], sums[name[1]]) / rows**2 for name, made in total.items()}
    if "xx" not in centred:
        return torch.linalg.svd(centred["xy"])[0]
    share = 0.1 * centred["xx"].diagonal().mean() * torch.eye(WIDTH, dtype=torch.float64)
    return torch.linalg.solve(centred["xx"] + share, centred["xy"])


def cpu_seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def beside_bare(folder: Path, store: Path, rows: int) -> None:
    for name, products in BARE.items():
        turns: list[tuple[float, float]] = []
        for turn in range(4):
            ours = cpu_seconds(
                lambda name=name, turn=turn: align(  # type: ignore[misc]
                    LAYERS, store=store, options=options_of(name), memory=10**9, name=f"{name}-{turn}"
                )
            )
            turns.append((ours, cpu_seconds(lambda products=products: bare(folder, rows, products))))  # type: ignore[misc]
        turns = turns[1:]  # the first ones load libraries
        tell(
            f"bare {name}",
            rows=rows,
            cpu_s=statistics.median(ours for ours, _ in turns),
            bare_cpu_s=statistics.median(theirs for _, theirs in turns),
            ratio=statistics.median(ours / theirs for ours, theirs in turns),
        )


def command_of(name: str, store: Path) -> list[str]:
    method, _, refined = name.partition(" + ")
    more = ["--weight", "10"] if refined else ["--regulariser", "none"] if method == "csa" else []
    return [
        "align",
        "--layers",
        LAYERS,
        "--method",
        method,
        *more,
        "--test",
        "0.1",
        "--memory",
        MEMORY,
        "--store",
        str(store),
    ]


def of_process(command: list[str]) -> tuple[float, float, float]:
    """Processor seconds, wall seconds and peak megabytes of a command."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed with status {status}")
    return used.ru_utime + used.ru_stime, time.perf_counter() - began, used.ru_maxrss / 1000


def told(name: str, store: Path) -> tuple[float, float]:
    """Seconds and megabytes of the dry run."""
    done = json.loads(structure(*command_of(name, store), "--dry-run", "--json").stdout)
    (part,) = done["parts"]
    return part["seconds"], part["memory"] / 1e6


def apart(one: float, other: float) -> float:
    return max(one, other) / min(one, other)


def within_bounds(store: Path, rows: int, methods: list[str], *, forecast: bool) -> None:
    started = of_process([sys.executable, "-c", "import structure.pipeline.stages.align"])[0]
    for name in methods:
        ahead = told(name, store) if forecast else None
        cpu, wall, peak = of_process([PROGRAM, *command_of(name, store), "--quiet", "--seed", "7"])
        tell(f"fits {name}", rows=rows, cpu_s=cpu, wall_s=wall, peak_mb=peak)
        if ahead is not None:
            seconds = started + max(cpu - started, 0.0) / min(os.cpu_count() or 1, 2)
            tell(
                f"forecast {name}",
                rows=rows,
                told_s=ahead[0],
                seconds=seconds,
                told_mb=ahead[1],
                peak_mb=peak,
                seconds_ratio=apart(ahead[0], seconds),
                memory_ratio=apart(ahead[1], peak),
            )


def tell(measure: str, **line: Any) -> None:
    shown = {key: round(value, 3) if isinstance(value, float) else value for key, value in line.items()}
    print(json.dumps({"measure": measure, **shown}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--million", action="store_true")
    parser.add_argument("--only", default="bare,fits,forecast")
    parser.add_argument("--methods", default=",".join(METHODS))
    asked = parser.parse_args()
    parts, methods = asked.only.split(","), asked.methods.split(",")
    most = 1_000_000 if asked.million else asked.rows
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "bare" in parts:
            beside_bare(folder, make(folder, most), most)
        for rows in sorted({10_000, asked.rows, most}) if "forecast" in parts else [asked.rows]:
            if {"fits", "forecast"} & set(parts):
                store = folder / f"store-{rows}"
                within_bounds(
                    store if store.exists() else make(folder, rows), rows, methods, forecast="forecast" in parts
                )


if __name__ == "__main__":
    main()
