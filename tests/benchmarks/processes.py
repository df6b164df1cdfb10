"""A command as a process of its own: its seconds, its processor seconds and the peak of its memory."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAM = Path(sys.executable).with_name("structure")
"""The command of this environment, whether or not it is on the search path."""


@dataclass(frozen=True)
class Run:
    """What a process took: seconds by the clock, processor seconds, megabytes at most; and what it printed."""

    wall: float
    cpu: float
    peak_mb: float
    out: str


def run(command: Sequence[str | Path]) -> Run:
    """Raises CalledProcessError where it fails."""
    began = time.perf_counter()
    child = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    out = child.stdout.read()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command, out)
    return Run(time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1000, out)


def in_a_process(work: Callable[..., object], *arguments: object) -> None:
    """Run it in a process of its own: what this process held counts as the peak of those that it starts."""
    worker = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    worker.start()
    worker.join()
    if worker.exitcode:
        raise RuntimeError(f"{work.__name__} failed")


def tell(measure: str, **figures: Any) -> None:
    """One JSON line."""
    shown = {key: round(value, 3) if isinstance(value, float) else value for key, value in figures.items()}
    print(json.dumps({"measure": measure, **shown}), flush=True)
