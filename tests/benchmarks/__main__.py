"""Runs every benchmark script and writes BENCHMARKS.md: `uv run --extra test python -m tests.benchmarks`.

    python -m tests.benchmarks [NAME ...] [--again] [--out BENCHMARKS.md]

Each script runs in a process of its own and prints JSON lines; what it said, how long it took and how it ended is saved
in build/benchmarks/, so that a run that was stopped goes on where it was (`--again` measures anew, and so does a change
of the script or of the product). A script that failed, a figure that missed what it is compared with and a script that
was not run all stand in the file. A line is shown as the script printed it: `measure` (or another of `NAMES`) names it,
`held` beside `ratio` is the least that the ratio may be, and what `SCRIPTS` holds against it is judged here.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.listed import SCRIPTS, Script

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "build" / "benchmarks"
SHARED = ROOT.parent / "shared" / "data"
NAMES = ("measure", "benchmark", "question", "campaign", "set")
LIBRARIES = ("structure-align", "torch", "numpy", "zarr", "transformers", "timm", "open_clip_torch", "clip-benchmark")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(script.name for script in SCRIPTS))
    parser.add_argument("--again", action="store_true", help="measure anew what is saved")
    parser.add_argument("--out", type=Path, default=ROOT / "BENCHMARKS.md")
    given = parser.parse_args()
    unknown = set(given.names) - {script.name for script in SCRIPTS}
    if unknown:
        parser.error(f"no script is called {', '.join(sorted(unknown))}")
    KEPT.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for script in SCRIPTS:
        record = kept(script)
        done = record is not None and record["ended"] == "well" and record["source"] == source(script)
        if (not given.names or script.name in given.names) and (given.again or not done):
            print(f"{script.name} ...", end=" ", file=sys.stderr, flush=True)
            record = run(script)
            (KEPT / f"{script.name}.json").write_text(json.dumps(record, indent=1))
            print(f"{record['ended']}, {record['seconds']:.0f} s", file=sys.stderr, flush=True)
        given.out.write_text(page([(each, kept(each)) for each in SCRIPTS]))
    print(given.out)
    return 0


def kept(script: Script) -> dict[str, Any] | None:
    """What is known of the script's last run."""
    try:
        record: dict[str, Any] = json.loads((KEPT / f"{script.name}.json").read_text())
    except (FileNotFoundError, ValueError):
        return None
    return record


def source(script: Script) -> str:
    """A digest of the script and of the product: figures of other code are not these."""
    whole = hashlib.sha256(repr((script.arguments, script.before)).encode())
    for room in ("store", "pipeline"):
        for path in sorted((ROOT / room).rglob("*.py")):
            whole.update(path.read_bytes())
    is_package = script.file.name == "__main__.py"
    for path in sorted(script.file.parent.glob("*.py")) if is_package else [script.file]:
        whole.update(path.read_bytes())
    return whole.hexdigest()


def run(script: Script) -> dict[str, Any]:
    """Run it; its lines, its seconds, and how it ended: `well`, or what went wrong in words."""
    began, lines = time.perf_counter(), []
    ended = why_not(script)
    if not ended:
        work = KEPT / "work"
        work.mkdir(exist_ok=True)
        calls = [*script.before, (sys.executable, "-m", f"tests.benchmarks.{script.name}", *script.arguments)]
        for call in calls:
            words = [word.format(work=work, shared=SHARED) for word in call]
            out, ended = finished(words, 60 * script.minutes)
            lines = [line for line in map(parsed, out.splitlines()) if line is not None]
            if ended != "well":
                break
    return {
        "ended": ended,
        "seconds": time.perf_counter() - began,
        "lines": lines,
        "source": source(script),
        "date": time.strftime("%Y-%m-%d"),
        "load": os.getloadavg()[0],
    }


def why_not(script: Script) -> str:
    """Why it cannot run here; "" where it can."""
    if not script.gpu:
        return ""
    import torch

    return "" if torch.cuda.is_available() else "unmeasured: no CUDA device here"


def finished(words: Sequence[str], seconds: float) -> tuple[str, str]:
    """(what it printed, how it ended). What it printed before it was stopped counts."""
    child = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, errors = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        out, _ = child.communicate()
        return out, f"did not end within {seconds / 60:g} minutes"
    finally:
        child.kill()  # also where this process is stopped
    last = (errors.strip().splitlines() or ["no word"])[-1]
    return out, "well" if child.returncode == 0 else f"failed with code {child.returncode}: {last[:300]}"


def parsed(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def judged(script: Script, line: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """(bound in words, whether it is met) of everything that the line is compared with."""
    name = named(line)
    if isinstance(line.get("held"), int | float) and isinstance(line.get("ratio"), int | float):
        yield f"ratio at least {line['held']:g}", line["ratio"] >= line["held"]
    for bound in script.bounds:
        value = line.get(bound.figure)
        value = len(value) if isinstance(value, list) else value  # the cases that went wrong, listed
        if isinstance(value, int | float) and name.startswith(bound.of):
            yield bound.told(), bound.met(value)


def named(line: Mapping[str, Any]) -> str:
    return next((str(line[key]) for key in NAMES if key in line), "")


def page(records: Sequence[tuple[Script, dict[str, Any] | None]]) -> str:
    """The whole file."""
    verdicts = [
        (script, line, told, met)
        for script, record in records
        if record
        for line in record["lines"]
        for told, met in judged(script, line)
    ]
    missed = [f"- {s.name}, {named(line) or 'all'}: {told} missed" for s, line, told, met in verdicts if not met]
    held = {(script.name, told) for script, _, told, _ in verdicts}
    missed += [
        f"- {script.name}, {bound.of or 'all'}: no figure for the limit {bound.told()}"
        for script, record in records
        for bound in script.bounds
        if record and record["ended"] == "well" and (script.name, bound.told()) not in held
    ]
    ends = [(script, record["ended"] if record else "not run") for script, record in records]
    missed += [f"- {script.name}: {ended}" for script, ended in ends if ended != "well"]
    parts = [
        "# Benchmarks",
        "Generated by `uv run --extra test python -m tests.benchmarks`, which runs every script of speed, memory and "
        "faults in `tests/benchmarks`; studies of accuracy have pages of their own in `docs/`. "
        "A ratio is measured in one process that alternates between the two sides. The docstring of each script "
        "defines its figures. Absolute times are valid for this machine only.",
        "\n".join(f"- {line}" for line in machine()),
        f"{sum(met for *_, met in verdicts)} of {len(verdicts)} figures with a limit meet it. "
        + ("Not met, failed or not measured:" if missed else "All limits are met, and every script ran."),
        "\n".join(missed),
        *(section(script, record) for script, record in records),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def section(script: Script, record: Mapping[str, Any] | None) -> str:
    """One script: how it was called, how it ended, and a row a line."""
    call = " ".join((f"python -m tests.benchmarks.{script.name}", *script.arguments))
    head = f"## {script.theme}\n\nCompared with {script.beside}. `{call}`"
    if record is None:
        return f"{head}\n\n**Not run.**"
    how = f"{record['seconds']:.0f} s on {record['date']}, load {record['load']:.1f}"
    ended = "" if record["ended"] == "well" else f" **{record['ended']}**"
    if not record["lines"]:
        return f"{head}; {how}.{ended}"
    rows = ["| measure | figures | limit | met |", "|---|---|---|---|"]
    for line in record["lines"]:
        figures = ", ".join(f"{key} {shown(value)}" for key, value in line.items() if key not in (*NAMES, "held"))
        found = list(judged(script, line))
        bounds, met = "; ".join(told for told, _ in found), ", ".join("yes" if good else "**no**" for _, good in found)
        cells = (named(line) or script.name, figures, bounds, met)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return f"{head}; {how}.{ended}\n\n" + "\n".join(rows)


def shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return json.dumps(value) if isinstance(value, list | dict) else str(value)


def machine() -> Iterator[str]:
    """The machine and what runs on it."""
    import torch

    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    model = models[0] if models else platform.machine()
    yield f"{model}, {os.cpu_count()} cores, {gigabytes:.0f} GB, {platform.system()}"
    yield f"GPU: {torch.cuda.get_device_name() if torch.cuda.is_available() else 'none'}"
    versions = [f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES]
    yield f"Python {platform.python_version()}, {', '.join(versions)}"
    yield f"written {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}"


if __name__ == "__main__":
    sys.exit(main())
