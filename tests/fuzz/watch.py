"""What an input may not do: write outside its folder, start a program, connect, or take too long."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SECONDS = 20


class Hang(BaseException):
    """The input took too long."""


WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
MOVES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "shutil.rmtree")
RUNS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect", "pickle.find_class")
allowed: list[str] = []
seen: list[str] = []


def hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not allowed:
        return
    if event in RUNS:
        seen.append(f"{event} {arguments[:2]!r}")
        raise PermissionError(f"{event} {arguments[:1]}")
    paths: list[Any] = []
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES:
        paths = [arguments[0]]
    elif event in MOVES and arguments[-1] in (-1, None):  # relative to an open folder, it was checked with that
        paths = [each for each in arguments[:2] if isinstance(each, str | bytes | os.PathLike)]
    for path in paths:
        if isinstance(path, str | bytes | os.PathLike):
            real = os.path.realpath(os.fsdecode(path))
            if real != "/dev/null" and not real.startswith(allowed[0]):
                seen.append(f"{event} {real}")
                raise PermissionError(f"{event} outside: {real}")


@contextlib.contextmanager
def watched(folder: Path) -> Iterator[None]:
    """Nothing may be written outside `folder`, run, or last longer than `SECONDS`."""

    def ring(number: int, frame: Any) -> None:
        raise Hang

    seen.clear()
    allowed[:] = [str(folder.resolve())]
    signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        allowed.clear()
