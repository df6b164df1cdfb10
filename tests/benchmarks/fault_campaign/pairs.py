"""Two commands on one store at once: each ends well or says why it does not, and done again they leave what one leaves.

A second command that is refused because another holds what it needs is right; a traceback or another number is not.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .children import Command
from .ground import QUICK, Ground
from .normal_form import differences
from .outcome import Cell

EVALUATE = "eval --suite {place}/own.yaml --aligner a --data-root {place}"
DROP = "store drop-items --dataset scenes --ids {place}/ids.txt --yes"
APPEND = "extract --model bundled:scenes-vit --model bundled:scenes-text --dataset scenes:80 --append"
ALIGN = f"align {QUICK} --epochs 6 --name new"
RANK = "rank-layers --k 4 --calibrate 20 --repeats 1"


@dataclass(frozen=True)
class Pair:
    """Two commands and the store that they start from. `either`: what is left depends on which came first."""

    first: str
    second: str
    base: str
    either: bool = False

    @property
    def name(self) -> str:
        return f"{_short(self.first)} / {_short(self.second)}"


IMPORT = "import {place}/vit.npz --model vit --modality vision --dataset cells"
PAIRS = (
    Pair(IMPORT, IMPORT, "nothing"),
    Pair(ALIGN, ALIGN, "ranked"),
    Pair(ALIGN, ALIGN + " --seed 5", "ranked", either=True),
    Pair(ALIGN, APPEND, "ranked", either=True),
    Pair("store gc --yes", EVALUATE, "aligned"),
    Pair("run {place}/small.yaml", "run {place}/small.yaml", "features"),
    Pair("report", EVALUATE, "aligned", either=True),
    Pair(DROP, "search red --aligner a --dataset scenes", "aligned", either=True),
    Pair(RANK, RANK, "features"),
    Pair("search red --aligner a --dataset scenes", "search blue --aligner a --dataset scenes", "aligned"),
    Pair("store gc --yes", ALIGN, "ranked"),
    Pair(EVALUATE, EVALUATE, "aligned"),
    Pair("store rm aligners/a --yes", EVALUATE, "aligned", either=True),
    Pair("store repair scenes/train/scenes-vit", RANK, "features"),
    Pair("report", "report", "whole"),
    Pair(DROP, DROP, "whole"),
)


def _short(line: str) -> str:
    words = line.split()
    return " ".join(words[:2]) if words[0] == "store" else words[0]


def campaign(ground: Ground, count: int, seed: int, only: str = "") -> Iterator[Cell]:
    """A cell for each pair, of `count` tries in all."""
    pairs = [pair for pair in PAIRS if only in pair.name]
    for pair in pairs:
        cell = Cell("pair", pair.name, "at once")
        wanted, seconds = _alone(ground, pair)
        for number in range(-(-count // len(pairs))):
            cell.tries += 1
            draws = random.Random(f"{seed} {pair.first} {pair.second} {number}")
            late = draws.uniform(0, seconds)
            if said := _together(ground, pair, late, wanted):
                cell.wrong_at(f"try {number}, the second {late:.3f} s later", said)
        yield cell


def _alone(ground: Ground, pair: Pair) -> tuple[dict[str, Any], float]:
    """What the two leave one after the other, and the seconds of the first."""
    ground.copy(pair.base)
    seconds = ground.do(pair.first).seconds
    ground.do(pair.second)
    return ground.tree(), seconds


def _together(ground: Ground, pair: Pair, late: float, wanted: dict[str, Any]) -> list[str]:
    ground.copy(pair.base)
    first = Command(ground.line(pair.first), ground.folder / "first")
    time.sleep(late)
    second = Command(ground.line(pair.second), ground.folder / "second")
    ends = [first.wait(), second.wait()]
    said = [
        f"exit {done.code}, {done.told()}"
        for done in ends
        if done.crashed or done.code not in (0, 1, 2) or (done.code and len(done.told()) < 40)
    ]
    said += [f"verify: {fault}" for fault in ground.faults()]
    for line, done in zip((pair.first, pair.second), ends, strict=True):
        if done.code and not pair.either:
            again = ground.do(line)
            if again.crashed or again.code not in (0, 1, 2):
                said.append(f"again: exit {again.code}, {again.told()}")
    if not pair.either:
        said += differences(ground.tree(), wanted)
    return said
