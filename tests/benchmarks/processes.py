"""A command as a process of its own: its seconds, its processor seconds and the peak of its memory."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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


def tell(measure: str, **figures: Any) -> None:
    """One JSON line."""
    shown = {key: round(value, 3) if isinstance(value, float) else value for key, value in figures.items()}
    print(json.dumps({"measure": measure, **shown}), flush=True)
