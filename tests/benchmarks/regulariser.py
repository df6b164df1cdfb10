"""Time and peak memory of one training step, against the same formula written plainly in torch.

    python tests/benchmarks/regulariser.py [--batch 4096] [--width 1024] [--dim 512] [--repeats 3] [--large 16384,32768]

A step is InfoNCE + 10 (R_S(vision) + R_S(text)) at level 1, forward and backward, from raw frozen features through two
linear heads. One JSON line per question: the ratio of times (both ways run in turn in one process, best of the
repeats), the ratio of peak memory above what the inputs take (each way in a process of its own), and the peak of
large batches that the plain formula is not asked to do: 16,384 by default, because 32,768 takes four times as long.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from structure.pipeline.aligners.losses.contrastive import info_nce
from structure.pipeline.aligners.losses.structure_loss import structure_loss

Step = Callable[[], float]

FASTER, LEANER, LARGE_MB = 4.0, 0.15, 1024
"""What is asked of it: times as fast as the plain formula, of its peak memory, MB that a large batch may add."""


def plain_structure_loss(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """R_S as it is written down: dense matrices, autograd through all of it, the frozen side without a graph."""

    def softmax(x: torch.Tensor) -> torch.Tensor:
        z = F.normalize(x, dim=1)
        z = z - z.mean(dim=0)
        return torch.softmax(z @ z.T / 0.05, dim=1)

    with torch.no_grad():
        p = softmax(before)
    q = softmax(after)
    m = (p + q) / 2
    kl_p = (p * ((p + 1e-12).log() - (m + 1e-12).log())).sum(dim=1)
    kl_q = (q * ((q + 1e-12).log() - (m + 1e-12).log())).sum(dim=1)
    return ((kl_p + kl_q) / 2).mean()


def plain_info_nce(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Symmetric InfoNCE with a dense logit matrix."""
    logits = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T / 0.05
    target = torch.arange(len(a))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def make_step(way: str, batch: int, width: int, dim: int) -> Step:
    """One training step, forward and backward; returns the loss."""
    generator = torch.Generator().manual_seed(0)
    vision, text = (torch.randn(batch, width, generator=generator) for _ in range(2))
    weights = [(torch.randn(dim, width, generator=generator) / width**0.5).requires_grad_() for _ in range(2)]
    contrast, structure = (info_nce, structure_loss) if way == "tiled" else (plain_info_nce, plain_structure_loss)

    def step() -> float:
        for weight in weights:
            weight.grad = None
        images, texts = vision @ weights[0].T, text @ weights[1].T
        loss = contrast(images, texts) + 10 * (structure(vision, images) + structure(text, texts))
        loss.backward()
        return float(loss.detach())

    return step


def peak_mb() -> float:
    """The most memory this process ever held, MB (Linux; the rusage figure would start at the parent's)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def measure_peak(way: str, batch: int, width: int, dim: int) -> None:
    """Print the MB of peak memory that one step adds to its inputs. A small step first, so that code is loaded."""
    make_step(way, 512, width, dim)()
    step = make_step(way, batch, width, dim)
    before = peak_mb()
    started = time.perf_counter()
    loss = step()
    seconds = time.perf_counter() - started
    print(json.dumps({"mb": round(peak_mb() - before), "total_mb": round(peak_mb()), "loss": loss, "s": seconds}))


def peak_of(way: str, batch: int, width: int, dim: int) -> dict[str, float]:
    """`measure_peak` in a process of its own."""
    command = [sys.executable, __file__, "--peak", way, "--batch", batch, "--width", width, "--dim", dim]
    out = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout
    found: dict[str, float] = json.loads(out)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, value in (("batch", 4096), ("width", 1024), ("dim", 512), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--large", default="16384", help="batches, with commas; empty for none")
    parser.add_argument("--peak", choices=("tiled", "plain"), help="measure one way's memory and stop")
    options = parser.parse_args()
    shape = (options.batch, options.width, options.dim)
    if options.peak:
        measure_peak(options.peak, *shape)
        return
    steps = {way: make_step(way, *shape) for way in ("tiled", "plain")}
    times: dict[str, list[float]] = {way: [] for way in steps}
    losses: dict[str, float] = {}
    for _ in range(options.repeats + 1):
        for way, step in steps.items():
            started = time.perf_counter()
            losses[way] = step()
            times[way].append(time.perf_counter() - started)
    best = {way: min(found[1:]) for way, found in times.items()}
    asked = {"batch": options.batch, "width": options.width, "dim": options.dim, "threads": torch.get_num_threads()}
    seconds = {f"{way}_s": round(found, 3) for way, found in best.items()}
    speedup = round(best["plain"] / best["tiled"], 2)
    told = {"plain_over_tiled": speedup, "at_least": FASTER, "losses": losses}
    print(json.dumps({"question": "time", **asked, **seconds, **told}), flush=True)
    peaks = {way: peak_of(way, *shape)["mb"] for way in steps}
    memory = {f"{way}_mb": found for way, found in peaks.items()}
    share = round(peaks["tiled"] / peaks["plain"], 3)
    told = {"tiled_over_plain": share, "at_most": LEANER}
    print(json.dumps({"question": "memory", **asked, **memory, **told}), flush=True)
    for batch in (int(size) for size in options.large.split(",") if size):
        large = peak_of("tiled", batch, options.width, options.dim)
        told = {"batch": batch, **large, "at_most_mb": LARGE_MB}
        print(json.dumps({"question": "large", **asked, **told}), flush=True)


if __name__ == "__main__":
    main()
