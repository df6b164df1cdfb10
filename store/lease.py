"""Who is writing a shard: an exclusive lease that ends with its writer, alive or dead."""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from structure.store.errors import StructureError
from structure.store.files import Files

EXPIRES = 120.0
"""Seconds after which a lease that its holder has not renewed is stale (the holder renews every quarter of it)."""

FOLDER = "claims"
"""Below a feature set: where its leases lie."""

LOOKS = 120
"""How often a lease is looked at in that time by somebody who waits for its end."""


class HeldError(StructureError):
    """Somebody else is writing this shard."""


class Lease:
    """The right to write one shard, held while the context is open.

    A second writer is refused with who holds it. A lease is stale when its process is gone (same machine) or when it
    has not been renewed for `EXPIRES` seconds (any machine).
    """

    def __init__(self, files: Files, key: str, *, what: str) -> None:
        self.files, self.key, self.what = files, key, what
        self._body = json.dumps(_this_process() | {"token": secrets.token_hex(8)}).encode()
        self._ended = threading.Event()
        self._renewal: threading.Thread | None = None

    def acquire(self) -> Lease:
        """Take the lease. Raises HeldError where somebody alive holds it."""
        while not self.files.create(self.key, self._body):
            seen, held = self._look()
            if held is not None:
                raise HeldError(
                    f"{self.what} is being written by process {held['pid']} on {held['host']}. "
                    "Wait for it, or stop it; a lease whose process has died ends by itself."
                )
            # Of all who see that it is stale, one takes it.
            if seen is not None and self.files.swap(self.key, seen, self._body):
                break
        renewal = threading.Thread(target=self._renew, daemon=True)
        renewal.start()
        self._renewal = renewal
        return self

    def release(self) -> None:
        """Give the lease back where it is held; a second call does nothing."""
        if self._ended.is_set():
            return
        self._ended.set()
        if self._renewal is not None:
            self._renewal.join()
        self.files.swap(self.key, self._body, None)

    def __enter__(self) -> Lease:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _renew(self) -> None:
        while not self._ended.wait(EXPIRES / 4):
            with suppress(OSError, StructureError):
                self.files.swap(self.key, self._body, self._body)

    def is_stale(self) -> bool:
        """Whether nobody alive holds the lease."""
        return self._look()[1] is None

    def wait_released(self) -> bool:
        """Wait for the end of a lease whose holder may be dead: at most `EXPIRES` seconds; False as soon as he is seen
        to live, which on this machine is at once and on another when he renews it."""
        renewed = None
        while (held := self._look()[1]) is not None:
            with suppress(FileNotFoundError):
                now = self.files.modified(self.key)
                renewed = now if renewed is None else renewed
                if _is_here(held) or now != renewed:
                    return False
            time.sleep(EXPIRES / LOOKS)
        return True

    def discard_stale(self) -> bool:
        """Remove the lease if nobody alive holds it; False if somebody does."""
        seen, held = self._look()
        return held is None and (seen is None or self.files.swap(self.key, seen, None))

    def _look(self) -> tuple[bytes | None, dict[str, str | int] | None]:
        """What the lease holds now (None: nothing is there), and who it is that holds it, if he is alive."""
        try:
            seen = self.files.read(self.key)
            age = time.time() - self.files.modified(self.key)
        except FileNotFoundError:
            return None, None
        try:
            body: dict[str, str | int] = json.loads(seen)
            if _is_here(body):
                alive = _started(int(body["pid"])) == body["started"]
            else:
                alive = age < EXPIRES
        except (ValueError, KeyError, TypeError):
            return seen, None
        return seen, body if alive else None


def leases_of(files: Files, prefix: str) -> list[Lease]:
    """Those that are there, stale or not, of the feature set in the folder `prefix`."""
    return [Lease(files, key, what=key) for key in files.keys(f"{prefix}/{FOLDER}")]


def remove_stale(files: Files, prefix: str) -> bool:
    """Remove the stale leases of the feature set in the folder `prefix`; whether one is left that somebody holds."""
    held = False
    for lease in leases_of(files, prefix):
        held |= not lease.discard_stale()
    return held


def _is_here(body: Mapping[str, str | int]) -> bool:
    """Whether the holder is, or was, a process of this machine since it started."""
    return body["host"] == socket.gethostname() and body["boot"] == _boot()


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
