"""Stages where the disk is full, files are few, memory is short or the folder is read-only.

Each says so, leaves nothing half written that counts as whole, and the same command ends well once the cause is gone.
It may also end well under the fault, where it needs less than there is, or only reads.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .children import Done, command
from .ground import STAGES, Ground, Stage
from .outcome import Cell

CLEAR = 40
"""Letters that a message has at least which says what is wrong and what to do."""
ROOM = 2**30
MIB = 2**20


@contextmanager
def disk(place: Path) -> Iterator[None]:
    """A file system of its own at the place, with what lies there. Raises CalledProcessError without the right."""
    aside = place.with_name("aside")
    shutil.rmtree(aside, ignore_errors=True)
    place.rename(aside)
    place.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(place))  # raises without the right
    try:
        shutil.copytree(aside, place, dirs_exist_ok=True)
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


def _mount(*options: str) -> None:
    subprocess.run(["mount", *options], check=True, capture_output=True)


def full_disk(ground: Ground, line: str, draws: random.Random) -> Done:
    """Between nothing and half a megabyte is free."""
    usage = os.statvfs(ground.place)
    used = (usage.f_blocks - usage.f_bfree) * usage.f_frsize
    _mount("-o", f"remount,size={used + draws.choice((0, 1, 4, 16, 64, 128)) * 4096}", str(ground.place))
    done = ground.do(line)
    _mount("-o", f"remount,size={ROOM}", str(ground.place))
    return done


def read_only(ground: Ground, line: str, draws: random.Random) -> Done:
    """Not even root can write."""
    _mount("-o", "remount,ro", str(ground.place))
    done = ground.do(line)
    _mount("-o", "remount,rw", str(ground.place))
    return done


def few_files(ground: Ground, line: str, draws: random.Random) -> Done:
    """At most that many descriptors beside those that are open."""
    more = draws.choice((0, 1, 2, 3, 4, 6, 8, 12, 16))
    return command(ground.line(line), ground.folder / "log", lambda: _limit(resource.RLIMIT_NOFILE, _open() + more))


def little_memory(ground: Ground, line: str, draws: random.Random) -> Done:
    """That much memory beside what the process has."""
    more = draws.randrange(96) * MIB
    return command(ground.line(line), ground.folder / "log", lambda: _limit(resource.RLIMIT_AS, _size() + more), 60)


FAULTS: dict[str, Callable[[Ground, str, random.Random], Done]] = {
    "disk is full": full_disk,
    "read-only": read_only,
    "few files": few_files,
    "little memory": little_memory,
}


def campaign(ground: Ground, count: int, seed: int, only: str = "") -> Iterator[Cell]:
    """A cell for each stage and fault, of `count` tries in all; none where no file system can be mounted."""
    ground.copy("nothing")
    try:
        with disk(ground.place):
            pass
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"environment: nothing was tried, for no file system can be mounted here: {error}", flush=True)
        return
    stages = [stage for stage in STAGES if only in stage.name]
    for stage in stages:
        for fault in FAULTS:
            cell = Cell("environment", stage.name, fault)
            for number in range(-(-count // (len(stages) * len(FAULTS)))):
                draws = random.Random(f"{seed} {stage.name} {fault} {number}")
                _tried(ground, stage, cell, f"try {number}", draws)
            yield cell


def _tried(ground: Ground, stage: Stage, cell: Cell, which: str, draws: random.Random) -> None:
    wanted, _ = ground.expected(stage)
    ground.start(stage)
    with disk(ground.place):
        done = FAULTS[cell.fault](ground, stage.line, draws)
        cell.tries += 1
        said = []
        if done.crashed or done.code not in (0, 1) or (done.code and len(done.told()) < CLEAR):
            said.append(f"exit {done.code}, {done.told()}")
        if done.code:
            said += ground.again(stage)
        said += [f"verify: {fault}" for fault in ground.faults()]
        if done.code or cell.fault != "read-only":
            said += ground.differences(wanted)
    if said:
        cell.wrong_at(which, said)


def _limit(kind: int, value: int) -> None:
    resource.setrlimit(kind, (value, value))


def _open() -> int:
    return max(map(int, os.listdir("/proc/self/fd"))) + 1


def _size() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
