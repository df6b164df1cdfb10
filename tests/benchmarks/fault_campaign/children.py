"""Commands of the command line in forked processes, so that a kill costs milliseconds and not an import of torch.

The process that forks computes nothing itself: a thread pool does not survive a fork.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LIBRARIES = (
    *("zarr", "zarr.storage", "pydantic", "rich.console", "rich.table", "typer.rich_utils", "vl_convert"),
    *("xarray", "pyarrow.parquet", "faiss", "PIL.ImageDraw"),
)
"""What commands import late."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def warm_up() -> None:
    """Import everything that a command may need, and load the bundled encoders."""
    import torch

    import structure.pipeline
    from structure.pipeline.encoders import load_encoder

    for module in pkgutil.walk_packages(structure.pipeline.__path__, "structure.pipeline."):
        if not module.name.endswith("__main__"):
            with suppress(ImportError):
                importlib.import_module(module.name)
    importlib.import_module("structure.cli.main")
    for name in LIBRARIES:
        with suppress(ImportError):
            importlib.import_module(name)
    torch.set_num_threads(1)
    for side in ("vit", "text"):
        load_encoder(f"bundled:scenes-{side}")


@dataclass(frozen=True)
class Done:
    """How a command ended: its exit code (minus the signal that ended it), and what it wrote to both streams."""

    code: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def crashed(self) -> bool:
        """Whether it ended by a traceback, which is never right, or told one."""
        return "Traceback (most recent call last)" in self.stderr or "Traceback (most recent call last)" in self.stdout

    def told(self) -> str:
        """The end of what it said, for the table: with a traceback its last lines, else the last line."""
        return " | ".join(self.stderr.strip().splitlines()[-12 if self.crashed else -1 :])[-1000:]


class Command:
    """A command that runs; `limits` is called in its process before."""

    def __init__(self, words: Sequence[str], log: Path, limits: Callable[[], None] = lambda: None) -> None:
        self.words, self.log = tuple(words), log
        self.began = time.perf_counter()
        # A signal waits until the child has its own way with it: Python would raise it in a callback of the fork.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        self.pid = os.fork()
        if not self.pid:
            _become(self.words, log, limits)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, limit: float = 300.0) -> Done:
        """Its end; one that takes longer than `limit` seconds is killed, which counts as a crash."""
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                break
            if time.perf_counter() - self.began > limit:
                self.send(signal.SIGKILL)
                limit = float("inf")
            time.sleep(0.002)
        texts = [Path(f"{self.log}.{end}").read_text(errors="replace") for end in ("out", "err")]
        return Done(os.waitstatus_to_exitcode(status), *texts, time.perf_counter() - self.began)


def command(words: Sequence[str], log: Path, limits: Callable[[], None] = lambda: None, longest: float = 300.0) -> Done:
    """Run a command to its end."""
    return Command(words, log, limits).wait(longest)


def save_states() -> None:
    """Have this process save the state of a training after every epoch, not once in half a minute."""
    from structure.pipeline.alignment import train

    plain = train.Checkpoint
    train.Checkpoint = lambda *at, every: plain(*at, every=0.0)  # type: ignore[assignment,misc]


def _become(words: Sequence[str], log: Path, limits: Callable[[], None]) -> None:
    code = 1
    try:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for stream, end in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{log}.{end}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
        from structure.cli.main import run
        from structure.cli.stopping import raise_again

        sys.unraisablehook = raise_again  # as the command's entry point does
        import torch

        torch.set_num_threads(1)  # makes the pool that a fork broke; two threads that load weights would do it at once
        limits()
        code = run(list(words))
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        os._exit(code)
