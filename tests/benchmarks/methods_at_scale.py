"""Methods at many rows: beside the bare way, within their bounds, as the dry run says, and all of them in a sweep.

    python -m tests.benchmarks.methods_at_scale [--rows 100000] [--million] [--only bare,fits,forecast,sweep]
        [--methods ridge,csa] [--folder F] [--page docs/scale.md]

Rows are random features with a common signal, 384 wide, in half precision, imported into a store of their own in a
temporary folder, or in F where they stay. `bare`: `align --memory 1GB` beside `bare_closed_forms.py`, which reads the
same shards, each in a process of its own, in turns: `ratio` of processor seconds with imports, the median of three.
`fits`: every closed form under `--memory 1GB` with a test fraction, its processor seconds and its peak memory, the
program with it. `forecast`: the dry run of the same commands at three sizes, `seconds_ratio` and `memory_ratio` of the
larger over the smaller of what is told and what happens; seconds of a run are those of its start and the other
processor seconds over the processors (two at most), which other work on the machine moves less than wall time. `sweep`:
every registered method under the same bound, trained ones for one epoch; it streams, or refuses in a sentence. With
`--million` the forecast and the sweep have 1,000,000 rows, of which both sides take 1.5 GB, as the bare way always has
(`--bare-rows`). One JSON line a figure; `--page` writes the table of the sweep.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

from structure.pipeline.aligners.aligner_method import method
from structure.pipeline.aligners.option_groups import GradientOptions
from structure.pipeline.aligners.registry import ALIGNERS
from tests.benchmarks.processes import PROGRAM, in_a_process, run, tell

WIDTH, SIGNAL, CHUNK, MEMORY = 384, 64, 8192, "1GB"
METHODS = ("identity", "mean-shift", "relative", "procrustes", "ridge", "csa", "csa + R_S", "asif", "kernel-csa")
BARE = ("ridge", "procrustes")
ONE_EPOCH = {"epochs": "1", "learning_rate": "0.001", "batch": "1024", "dim": "64", "regulariser": "none"}
LAYERS = "features,features"


def make(folder: Path, rows: int) -> None:
    """A store with both sides of so many rows; the arrays stay beside it."""
    store, draws = folder / f"store-{rows}", np.random.default_rng(0)
    mixing = draws.standard_normal((2, SIGNAL, WIDTH), dtype=np.float32)
    names = [folder / f"{side}-{rows}.npy" for side in ("vision", "text")]
    sides = [np.lib.format.open_memmap(name, mode="w+", dtype=np.float16, shape=(rows, WIDTH)) for name in names]
    for start in range(0, rows, CHUNK):
        count = min(CHUNK, rows - start)
        common = draws.standard_normal((count, SIGNAL), dtype=np.float32)
        for side, mix in zip(sides, mixing, strict=True):
            noise = draws.standard_normal((count, WIDTH), dtype=np.float32)
            side[start : start + count] = common @ mix / 2 + 2 * noise
    for name, side, modality in zip(names, sides, ("vision", "text"), strict=True):
        side.flush()
        given = ["--model", modality, "--modality", modality, "--dataset", "d", "--store", store, "--quiet"]
        run([PROGRAM, "import", name, *given])


def beside_bare(store: Path, rows: int) -> None:
    plain = [sys.executable, str(Path(__file__).parent / "bare_closed_forms.py"), str(store)]
    for name in BARE:
        ours = [PROGRAM, "align", "--layers", LAYERS, "--method", name, "--memory", MEMORY, "--store", str(store)]
        turns: list[tuple[float, float]] = []
        for turn in range(3):
            done = run([*ours, "--quiet", "--name", f"{name}-{turn}", "--replace"])
            turns.append((done.cpu, run([*plain, name]).cpu))
        tell(
            f"bare {name}",
            rows=rows,
            cpu_s=statistics.median(mine for mine, _ in turns),
            bare_cpu_s=statistics.median(theirs for _, theirs in turns),
            ratio=statistics.median(mine / theirs for mine, theirs in turns),
        )


def command_of(name: str, store: Path) -> list[str]:
    known, _, refined = name.partition(" + ")
    more = ["--weight", "10"] if refined else ["--regulariser", "none"] if known == "csa" else []
    return [
        "align",
        "--layers",
        LAYERS,
        "--method",
        known,
        *more,
        "--test",
        "0.1",
        "--memory",
        MEMORY,
        "--store",
        str(store),
    ]


def told(name: str, store: Path) -> tuple[float, float]:
    """Seconds and megabytes of the dry run."""
    done = json.loads(run([PROGRAM, *command_of(name, store), "--dry-run", "--json"]).out)
    (part,) = done["parts"]
    return part["seconds"], part["memory"] / 1e6


def apart(one: float, other: float) -> float:
    return max(one, other) / min(one, other)


def within_bounds(store: Path, rows: int, methods: Sequence[str], *, forecast: bool) -> None:
    started = run([sys.executable, "-c", "import structure.pipeline.alignment.train"]).cpu
    for name in methods:
        ahead = told(name, store) if forecast else None
        done = run([PROGRAM, *command_of(name, store), "--quiet", "--name", "fits", "--replace"])
        tell(f"fits {name}", rows=rows, cpu_s=done.cpu, wall_s=done.wall, peak_mb=done.peak_mb)
        if ahead is not None:
            seconds = started + max(done.cpu - started, 0.0) / min(os.cpu_count() or 1, 2)
            tell(
                f"forecast {name}",
                rows=rows,
                told_s=ahead[0],
                seconds=seconds,
                told_mb=ahead[1],
                peak_mb=done.peak_mb,
                seconds_ratio=apart(ahead[0], seconds),
                memory_ratio=apart(ahead[1], done.peak_mb),
            )


def sweep(store: Path, rows: int, names: Sequence[str]) -> list[str]:
    """One line of a table for each of the methods, told as it is measured."""
    table = [f"| method | {rows:,} pairs, `--memory {MEMORY}` | peak memory | CPU |", "|---|---|---|---|"]
    for name in names:
        trained = issubclass(method(name).options_class, GradientOptions)
        given = {field.name for field in fields(method(name).options_class)} & set(ONE_EPOCH) if trained else set()
        more = [part for option in sorted(given) for part in ("--set", f"{option}={ONE_EPOCH[option]}")]
        command = [PROGRAM, *command_of(name, store), *more, "--quiet", "--name", "sweep", "--replace"]
        done = run(command, may_refuse=True)
        how = f"refuses: {done.refused}" if done.refused else "streams; one epoch" if trained else "streams"
        tell(f"sweep {name}", rows=rows, cpu_s=done.cpu, wall_s=done.wall, peak_mb=done.peak_mb, how=how)
        table.append(f"| `{name}` | {how} | {done.peak_mb:,.0f} MB | {done.cpu:.0f} s |")
    return table


def put(page: Path, table: Sequence[str]) -> None:
    """The table between the marks of the page."""
    text = page.read_text()
    head, _, rest = text.partition("<!-- methods -->\n")
    page.write_text(
        f"{head}<!-- methods -->\n" + "\n".join(table) + "\n<!-- end -->" + rest.partition("<!-- end -->")[2]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--million", action="store_true")
    parser.add_argument("--only", default="bare,fits,forecast")
    parser.add_argument("--bare-rows", type=int, default=1_000_000)
    parser.add_argument("--methods", help="only these, with commas")
    parser.add_argument("--folder", type=Path, help="stores are made here, or taken from here, and stay")
    parser.add_argument("--page", type=Path, help="put the table of the sweep between its marks in this page")
    asked = parser.parse_args()
    parts, only = asked.only.split(","), asked.methods.split(",") if asked.methods else None
    most = 1_000_000 if asked.million else asked.rows
    with tempfile.TemporaryDirectory() as name:
        folder = asked.folder or Path(name)

        def store(rows: int) -> Path:
            made = folder / f"store-{rows}"
            if not made.exists():
                in_a_process(make, folder, rows)
            return made

        if "bare" in parts:
            beside_bare(store(asked.bare_rows), asked.bare_rows)
        for rows in sorted({10_000, asked.rows, most}) if "forecast" in parts else [asked.rows]:
            if {"fits", "forecast"} & set(parts):
                within_bounds(store(rows), rows, only or METHODS, forecast="forecast" in parts)
        if "sweep" in parts:
            table = sweep(store(most), most, only or list(ALIGNERS))
            if asked.page:
                put(asked.page, table)


if __name__ == "__main__":
    main()
