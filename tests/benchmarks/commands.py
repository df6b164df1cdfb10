"""Whole commands as they are typed, each a process of its own, imports included, on the store of the scenes demo.

    python -m tests.benchmarks.commands [--beside OTHER/.venv/bin/structure] [--repeats 3] [--work FOLDER]

- demo: `structure demo scenes` into an empty store: extraction, ranking, 20 trainings, evaluation, report
- nothing new: commands whose results are there already; each runs once before it is timed
- cold: `rank-layers` without neighbour tables and rankings, of 2,000 rows, 9 x 6 layers
- 20 aligners: their evaluation on one suite whose features are there, without their results
- first of its kind: an automatic selection on 1,000 pairs of a new seed, and the first answer of a search

`--beside` times the command of another checkout too, in turn, on a copy of the same store; a command that it does not
have is left out there. With `--work` the stores stay there, and a later run takes them without the demo. One JSON line
a measure: medians of seconds by the clock and of processor seconds, and the largest peak of memory.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.processes import PROGRAM, Run, run, tell


@dataclass
class Side:
    """The command of a checkout, and what it took by measure."""

    program: Path
    folder: Path
    runs: dict[str, list[Run]] = field(default_factory=dict)

    @property
    def store(self) -> Path:
        return self.folder / "scenes"

    def timed(self, measure: str, words: Sequence[str], *, store: Path | None = None) -> None:
        """Time it; a command that this checkout does not have leaves no figure."""
        done = run([self.program, *words, "--store", store or self.store, "--quiet"], may_refuse=True)
        if not done.refused:
            self.runs.setdefault(measure, []).append(done)

    @contextlib.contextmanager
    def copy_without(self, *folders: str) -> Iterator[Path]:
        """A copy of the demo's store without these folders of it."""
        copy = self.folder / "copy"
        shutil.copytree(self.store, copy)
        for name in folders:
            shutil.rmtree(copy / name, ignore_errors=True)
        yield copy
        shutil.rmtree(copy)

    @property
    def aligners(self) -> list[str]:
        return sorted(path.name for path in (self.store / "aligners").iterdir() if path.name.startswith("demo-"))


def again(side: Side) -> dict[str, list[str]]:
    """Commands that have nothing to do, once they have run."""
    return {
        "run": ["run", "demo-scenes"],
        "rank-layers": ["rank-layers"],
        "eval": ["eval", "--suite", "scenes", "--aligner", side.aligners[0]],
        "align": ["align", "--method", "ridge", "--layers", "last"],
        "report": ["report"],
    }


def measure(sides: Sequence[Side], repeats: int) -> None:
    first = sides[0]
    if not first.store.exists():
        first.timed("demo", ["demo", "scenes"])
    for side in sides:
        if not side.store.exists():
            shutil.copytree(first.store, side.store)
        for name, words in again(side).items():
            side.timed(f"before {name}", words)
    for turn in range(repeats):
        for side in sides:
            for name, words in again(side).items():
                side.timed(f"nothing new: {name}", words)
            with side.copy_without("neighbours", "rankings") as copy:
                side.timed("cold: rank-layers", ["rank-layers"], store=copy)
            with side.copy_without("results") as copy:
                named = [word for name in side.aligners for word in ("--aligner", name)]
                side.timed("20 aligners", ["eval", "--suite", "scenes", *named], store=copy)
            with side.copy_without() as copy:
                selection = ["align", "--pairs", "1000", "--seed", str(70 + turn), "--name", "selected"]
                side.timed("first: align", [*selection, "--method", "auto"], store=copy)
                side.timed("first: search", ["search", "a red circle", "--aligner", side.aligners[0]], store=copy)


def show(sides: Sequence[Side]) -> None:
    ours, *others = sides
    for name, runs in ours.runs.items():
        if name.startswith("before "):
            continue
        figures = medians(runs)
        for other in others:
            theirs = medians(other.runs.get(name, []))
            figures |= {f"beside_{key}": value for key, value in theirs.items()}
            if theirs:
                figures["times_faster"] = theirs["wall_s"] / figures["wall_s"]
        tell(name, runs=len(runs), **figures)


def medians(runs: Sequence[Run]) -> dict[str, float]:
    if not runs:
        return {}
    wall, cpu = (statistics.median(getattr(each, of) for each in runs) for of in ("wall", "cpu"))
    return {"wall_s": wall, "cpu_s": cpu, "peak_mb": max(each.peak_mb for each in runs)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beside", type=Path, help="the command `structure` of another checkout")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--work", type=Path, help="where the stores stay")
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        work = given.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sides = [Side(PROGRAM, work / "ours")]
        if given.beside:
            sides.append(Side(given.beside, work / "beside"))
        for side in sides:
            side.folder.mkdir(parents=True, exist_ok=True)
        measure(sides, given.repeats)
        show(sides)


if __name__ == "__main__":
    main()
