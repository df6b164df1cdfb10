"""Signals at random moments of every stage: the same command again ends as if there had been none."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator, Sequence
from typing import Any

from .children import Command, save_states
from .ground import STAGES, Ground, Stage
from .outcome import Cell

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
STOPPED = 130


def campaign(ground: Ground, count: int, seed: int, only: str = "") -> Iterator[Cell]:
    """A cell for each stage and signal, of `count` signals in all."""
    stages = [stage for stage in STAGES if only in stage.name]
    for stage in stages:
        try:
            wanted, seconds = ground.expected(stage)
        except RuntimeError as error:
            yield Cell("kill", stage.name, "none", 1, 1, notes=[str(error)])
            continue
        for kind in SIGNALS:
            yield _attacked(ground, stage, kind, wanted, seconds, -(-count // (len(stages) * len(SIGNALS))), seed)


def _attacked(
    ground: Ground, stage: Stage, kind: signal.Signals, wanted: dict[str, Any], seconds: float, count: int, seed: int
) -> Cell:
    cell = Cell("kill", stage.name, kind.name)
    number = 0
    while cell.tries < count and number < 4 * count:
        draws = random.Random(f"{seed} {stage.name} {kind.name} {number}")
        number += 1
        ground.start(stage)
        moments = [draws.uniform(0, seconds) for _ in range(draws.choice((1, 1, 2, 3)))]
        said = _stopped(ground, stage, kind, moments, cell)
        said += ground.again(stage)
        said += [f"verify: {fault}" for fault in ground.faults()]
        said += ground.differences(wanted)
        if said:
            cell.wrong_at(f"try {number - 1}, after {[round(each, 3) for each in moments]} s", said)
    return cell


def _stopped(ground: Ground, stage: Stage, kind: signal.Signals, moments: Sequence[float], cell: Cell) -> list[str]:
    """Start the command and send it the signal, once a moment, until it comes to its end before; what it said wrong."""
    said = []
    for moment in moments:
        running = Command(ground.line(stage.line), ground.folder / "killed", save_states)
        time.sleep(moment)
        running.send(kind)
        done = running.wait()
        if done.code == 0:
            break
        cell.tries += 1
        if done.crashed or done.code not in (-kind, STOPPED):
            said.append(f"stopped: exit {done.code}, {done.told()}")
    return said
