"""Damaged and hostile files for every reader: `python -m tests.fuzz [--inputs 100000] [--only READER]`.

Each input is a good file with bytes flipped, cut, doubled or moved, a JSON or YAML document with values exchanged for
strange ones (checksums made to fit again, so that what lies behind them is reached), or a file written to attack: a
pickle that runs a program, a YAML tag that does, aliases and archives that swell, members of tars and zips that point
outside. A reader may give a value, or raise StructureError, or MemoryError for a size that no machine has. All else is
a fault: another exception, more than 20 s, more than 2 GB, and, seen by an audit hook, any file written outside the
folder that the input lies in, any program started, any connection, any name that a pickle looks up by itself. One JSON
line a reader.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import sys
import tempfile
from pathlib import Path

import torch

from .campaign import campaign
from .readers import readers
from .watch import hook

BYTES = 2 * 2**30


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000, help="in all, shared among the readers")
    parser.add_argument("--only", default="", help="one reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="where inputs that made faults are saved")
    given = parser.parse_args()
    sys.addaudithook(hook)
    torch.set_num_threads(1)
    wrong = 0
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        found = [each for each in readers(Path(name)) if given.only in ("", each.name)]
        size_now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size_now + BYTES, resource.RLIM_INFINITY))
        for reader in found:
            line = campaign(reader, -(-given.inputs // len(found)), Path(name), given.seed)
            wrong += line["faults"]
            print(json.dumps(line), flush=True)
        if given.keep and (Path(name) / "faults").exists():
            shutil.copytree(Path(name) / "faults", given.keep, dirs_exist_ok=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
