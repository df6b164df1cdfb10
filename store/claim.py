"""Who is writing a shard: an exclusive claim that ends with its writer, alive or dead."""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from structure.store.errors import StructureError
from structure.store.files import Files

EXPIRES = 120.0
"""Seconds after which a claim that its holder has not renewed is void (the holder renews every quarter of it)."""


class HeldError(StructureError):
    """Somebody else is writing this shard."""


class Claim:
    """The right to write one shard, held while the context is open.

    A second writer is refused with who holds it. A claim is void when its process is gone (same machine) or when it
    has not been renewed for `EXPIRES` seconds (any machine).
    """

    def __init__(self, files: Files, key: str, *, what: str) -> None:
        self.files, self.key, self.what = files, key, what
        self._token = secrets.token_hex(8)
        self._ended = threading.Event()
        self._renewal: threading.Thread | None = None

    def acquire(self) -> Claim:
        """Take the claim. Raises HeldError where somebody alive holds it."""
        body = json.dumps(_this_process() | {"token": self._token}).encode()
        while not self.files.create(self.key, body):
            held = self._holder()
            if held is not None:
                raise HeldError(
                    f"{self.what} is being written by process {held['pid']} on {held['host']}. "
                    "Wait for it, or stop it; a claim whose process has died ends by itself."
                )
            self.files.remove(self.key)
        self._renewal = threading.Thread(target=self._renew, daemon=True)
        self._renewal.start()
        return self

    def release(self) -> None:
        """Give the claim back; a second call does nothing."""
        if self._ended.is_set():
            return
        self._ended.set()
        if self._renewal is not None:
            self._renewal.join()
        self.files.remove(self.key)

    def __enter__(self) -> Claim:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _renew(self) -> None:
        while not self._ended.wait(EXPIRES / 4):
            with suppress(OSError):
                self.files.touch(self.key)

    def is_void(self) -> bool:
        """Whether nobody alive holds the claim."""
        return self._holder() is None

    def _holder(self) -> dict[str, str | int] | None:
        """Who holds the claim now, or None if nobody alive does."""
        try:
            body: dict[str, str | int] = json.loads(self.files.read(self.key))
            age = time.time() - self.files.modified(self.key)
        except (FileNotFoundError, ValueError):
            return None
        here = _this_process()
        if body.get("host") == here["host"] and body.get("boot") == here["boot"]:
            return body if _started(int(body["pid"])) == body.get("started") else None
        return body if age < EXPIRES else None


def clear_void(files: Files, prefix: str) -> bool:
    """Remove the void claims below the prefix; whether one is left that somebody holds."""
    held = False
    for key in files.keys(prefix):
        if Claim(files, key, what=key).is_void():
            files.remove(key)
        else:
            held = True
    return held


def _this_process() -> dict[str, str | int]:
    return {"host": socket.gethostname(), "boot": _boot(), "pid": os.getpid(), "started": _started(os.getpid())}


def _boot() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _started(pid: int) -> str:
    """When a process of this machine started, "" if there is none: a number that is used again is another process."""
    with suppress(OSError, IndexError):
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if state in "ZX" else fields[18]
    if not Path("/proc/self/stat").exists():  # no /proc (macOS): alive or not is all there is to know
        with suppress(OSError):
            os.kill(pid, 0)
            return "alive"
    return ""
