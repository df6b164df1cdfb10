"""A fault campaign over every stage and every kind of file; after each fault the store is as without it.

    python -m tests.benchmarks.fault_campaign [--kills 300 --damages 400 --pairs 30 --remote 100 --environment 144]
        [--seed 0] [--only STAGE] [--out TABLE.md]

Prints a Markdown table of tries, of those that ended wrong and of damages that nobody saw, each of these in a line, and
the sums of each part as a JSON line.
One of them again: the same --seed, with --only and the name of its stage. Exit code 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from . import damages, environment, kills, pairs, remote
from .children import warm_up
from .ground import Ground
from .outcome import Cell, sums, table

PARTS = {
    "kills": (300, kills.campaign),
    "damages": (400, damages.campaign),
    "pairs": (30, pairs.campaign),
    "remote": (100, remote.campaign),
    "environment": (144, environment.campaign),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, (count, _) in PARTS.items():
        parser.add_argument(f"--{name}", type=int, default=count)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="stages, kinds of file or pairs whose name holds this")
    parser.add_argument("--out", type=Path, help="where the table is written too")
    given = parser.parse_args()
    cells: list[Cell] = []
    with tempfile.TemporaryDirectory() as folder:
        ground = Ground(Path(folder))
        for name, (_, campaign) in PARTS.items():
            if not (count := getattr(given, name)):
                continue
            began = time.perf_counter()
            for cell in campaign(ground, count, given.seed, given.only):
                cells.append(cell)
                print(cell.part, cell.stage, cell.fault, cell.tries, cell.wrong, cell.unseen, flush=True)
                for note in cell.notes:
                    print("  " + note, flush=True)
                if given.out:
                    given.out.write_text(table(cells))
            print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
    print(table(cells))
    for part, total in sums(cells).items():
        print(json.dumps({"campaign": part, **total}))
    return 1 if any(cell.wrong or cell.unseen for cell in cells) else 0


if __name__ == "__main__":
    warm_up()
    sys.exit(main())
