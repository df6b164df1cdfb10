"""A command as a process of its own: its seconds, its processor seconds and the peak of its memory."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAM = Path(sys.executable).with_name("structure")
"""The command of this environment, whether or not it is on the search path."""


@dataclass(frozen=True)
class Run:
    """What a process took: seconds by the clock, processor seconds, megabytes at most; what it printed, and what it
    said on stderr where it refused."""

    wall: float
    cpu: float
    peak_mb: float
    out: str
    refused: str = ""


def run(command: Sequence[str | Path], *, may_refuse: bool = False) -> Run:
    """Raises CalledProcessError where it fails, unless it `may_refuse`."""
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as errors:
        words = [str(word) for word in command]
        child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert child.stdout is not None
        out = child.stdout.read()
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        said = errors.read()
    if child.returncode and not may_refuse:
        print(said, file=sys.stderr)
        raise subprocess.CalledProcessError(child.returncode, words, out)
    refused = (" ".join(said.split()) or f"exit code {child.returncode}") if child.returncode else ""
    return Run(time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6, out, refused)


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
