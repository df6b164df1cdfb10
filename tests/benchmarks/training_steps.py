"""Trainings against the bare torch loop with the same steps, and R_S against none.

    python -m tests.benchmarks.training_steps [--pairs 20000] [--width 768] [--epochs 2] [--repeats 3]

One JSON line a question, CPU and wall seconds of turns taken in one process, best of the repeats. `plain`: linear heads
without R_S on pairs in memory, batches of 4,096, beside a loop written down with torch.nn and torch.optim. `structure`:
what R_S adds to that.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from structure.pipeline.aligners import TrainingOptions, fit

AT_MOST = {"plain": 1.15, "structure": 1.5}
"""What is asked of each: ours over the other's wall seconds."""


def pairs_of(rows: int, widths: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Random pairs whose sides have something in common."""
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(rows, min(widths) // 2, generator=generator)
    first, second = (
        torch.cat([common, torch.randn(rows, width - common.shape[1], generator=generator)], dim=1) for width in widths
    )
    return first, second


def bare_loop(vision: torch.Tensor, text: torch.Tensor, options: Mapping[str, Any], held_out: int) -> None:
    """Linear heads and symmetric InfoNCE as one writes them down, evaluated on held-out pairs after every epoch."""
    from torch.optim import AdamW

    heads = [torch.nn.Linear(side.shape[1], options["dim"]) for side in (vision, text)]
    moving = [parameter for head in heads for parameter in head.parameters()]
    optimiser = AdamW(moving, lr=options["learning_rate"], betas=(0.9, 0.95), weight_decay=1e-4)

    def loss_of(images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        sides = (F.normalize(head(rows), dim=1) for head, rows in zip(heads, (images, texts), strict=True))
        first, second = sides
        logits = first @ second.T / 0.05
        target = torch.arange(len(logits))
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2

    training = (vision[held_out:], text[held_out:])
    for _ in range(options["epochs"]):
        order = torch.randperm(len(training[0]))
        for start in range(0, len(order), options["batch"]):
            chosen = order[start : start + options["batch"]]
            optimiser.zero_grad()
            loss_of(*(side[chosen] for side in training)).backward()
            torch.nn.utils.clip_grad_norm_(moving, 1.0)
            optimiser.step()
        with torch.no_grad():
            loss_of(vision[:held_out], text[:held_out])


def compare(question: str, ways: Mapping[str, Callable[[], object]], repeats: int, **facts: Any) -> None:
    """Print the seconds of both ways and the first's share of the second's; the first turn of each is a warm-up."""
    wall: dict[str, list[float]] = {way: [] for way in ways}
    cpu: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats + 1):
        for way, run in ways.items():
            began, used = time.perf_counter(), time.process_time()
            run()
            wall[way].append(time.perf_counter() - began)
            cpu[way].append(time.process_time() - used)
    best = {way: (min(wall[way][1:]), min(cpu[way][1:])) for way in ways}
    (ours, other), told = best.values(), {"question": question, **facts, "threads": torch.get_num_threads()}
    for way, seconds in best.items():
        told |= {f"{way}_s": round(seconds[0], 3), f"{way}_cpu_s": round(seconds[1], 3)}
    shares = {"share": round(ours[0] / other[0], 3), "share_cpu": round(ours[1] / other[1], 3)}
    print(json.dumps({**told, **shares, "at_most": round(AT_MOST[question], 3)}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, value in (("pairs", 20_000), ("width", 768), ("epochs", 2), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--only", choices=AT_MOST, help="one question alone")
    asked = parser.parse_args()
    plain = {"dim": 512, "batch": 4096, "epochs": asked.epochs, "patience": asked.epochs, "learning_rate": 1e-3}
    facts = {"pairs": asked.pairs, "width": asked.width, "epochs": asked.epochs}
    pairs = pairs_of(asked.pairs, (asked.width, asked.width))
    without = partial(fit, *pairs, options=TrainingOptions(**plain, regulariser="none", device="cpu"))
    loop = partial(bare_loop, *pairs, plain, min(asked.pairs // 10, 4096))
    with_structure = partial(fit, *pairs, options=TrainingOptions(**plain, device="cpu"))
    if asked.only in (None, "plain"):
        compare("plain", {"fit": without, "loop": loop}, asked.repeats, **facts)
    if asked.only in (None, "structure"):
        compare("structure", {"with": with_structure, "without": without}, asked.repeats, **facts)


if __name__ == "__main__":
    main()
