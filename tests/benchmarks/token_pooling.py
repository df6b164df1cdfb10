"""Time and peak memory of PAL's pooling, forward and backward, against the same formula written plainly in torch.

    python tests/benchmarks/token_pooling.py [--batch 512] [--tokens 257] [--width 1024] [--anchors 512] [--repeats 2]

Tokens are float16 as the store keeps them. One JSON line per question: the ratio of times (both ways in turn in one
process, best of the repeats) and the ratio of peak memory above what the inputs take (each way in a process of its
own), beside what one (batch, token, anchor) tensor in float32 would take. `--large N`: a batch for the lean way alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

import torch
import torch.nn.functional as F

from structure.pipeline.aligners.heads.anchors import anchor_profile

Step = Callable[[], torch.Tensor]


def plain_profile(tokens: torch.Tensor, anchors: torch.Tensor, *, temperature: float = 0.03) -> torch.Tensor:
    """The profile as it is written down: every tensor whole, autograd through all of it."""
    cosines = F.normalize(tokens.float(), dim=2) @ F.normalize(anchors, dim=1).T
    return F.normalize((torch.softmax(cosines / temperature, dim=1) * cosines).sum(dim=1), dim=1)


def make_step(way: str, batch: int, tokens: int, width: int, anchors: int) -> Step:
    """One forward and backward pass; returns the gradient of the anchors."""
    generator = torch.Generator().manual_seed(0)
    features = torch.empty(batch, tokens, width, dtype=torch.float16)
    for row in features:
        row.copy_(torch.randn(tokens, width, generator=generator))
    bank = torch.randn(anchors, width, generator=generator).requires_grad_()
    direction = torch.randn(batch, anchors, generator=generator)
    profile = plain_profile if way == "plain" else anchor_profile

    def step() -> torch.Tensor:
        bank.grad = None
        (profile(features, bank) * direction).sum().backward()
        assert bank.grad is not None
        return bank.grad

    return step


def peak_mb() -> float:
    """The most memory this process ever held, MB (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def measure_peak(way: str, shape: tuple[int, int, int, int]) -> None:
    """Print the MB of peak memory that one step adds to its inputs. A small step first, so that code is loaded."""
    make_step(way, 4, *shape[1:])()
    step = make_step(way, *shape)
    before, began = peak_mb(), time.perf_counter()
    step()
    print(json.dumps({"mb": round(peak_mb() - before), "s": round(time.perf_counter() - began, 2)}))


def peak_of(way: str, shape: tuple[int, int, int, int]) -> dict[str, float]:
    """`measure_peak` in a process of its own."""
    names = ("--batch", "--tokens", "--width", "--anchors")
    numbers = [str(part) for pair in zip(names, shape, strict=True) for part in pair]
    command = [sys.executable, __file__, "--peak", way, *numbers]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    defaults = {"batch": 512, "tokens": 257, "width": 1024, "anchors": 512, "repeats": 2, "large": 0}
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--peak", choices=("lean", "plain"), help="measure one way's memory and stop")
    asked = parser.parse_args()
    shape = (asked.batch, asked.tokens, asked.width, asked.anchors)
    if asked.peak:
        measure_peak(asked.peak, shape)
        return
    names = {"batch": asked.batch, "tokens": asked.tokens, "width": asked.width, "anchors": asked.anchors}
    steps = {way: make_step(way, *shape) for way in ("lean", "plain")}
    times: dict[str, list[float]] = {way: [] for way in steps}
    gradients = {}
    for _ in range(asked.repeats + 1):
        for way, step in steps.items():
            began = time.perf_counter()
            gradients[way] = step().clone()
            times[way].append(time.perf_counter() - began)
    best = {way: min(found[1:]) for way, found in times.items()}
    apart = float((gradients["lean"] - gradients["plain"]).abs().max() / gradients["plain"].abs().max())
    seconds = {f"{way}_s": round(found, 3) for way, found in best.items()}
    ratio = round(best["lean"] / best["plain"], 2)
    print(json.dumps({"question": "time", **names, **seconds, "lean_over_plain": ratio, "gradients_apart": apart}))
    del steps, gradients
    peaks = {way: peak_of(way, shape)["mb"] for way in ("lean", "plain")}
    whole = round(asked.batch * asked.tokens * asked.anchors * 4 / 2**20)
    share = round(peaks["lean"] / peaks["plain"], 3)
    memory = {f"{way}_mb": found for way, found in peaks.items()}
    print(json.dumps({"question": "memory", **names, **memory, "one_tensor_mb": whole, "lean_over_plain": share}))
    if asked.large:
        large = (asked.large, *shape[1:])
        tensor = round(asked.large * asked.tokens * asked.anchors * 4 / 2**20)
        print(
            json.dumps({"question": "large", "batch": asked.large, **peak_of("lean", large), "one_tensor_mb": tensor})
        )


if __name__ == "__main__":
    main()
