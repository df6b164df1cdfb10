"""The rates of `structure plan`, and its formulas against what was measured.

    python tests/benchmarks/scale.py [--work /tmp/scale] [--steps import,verify]
    python tests/benchmarks/scale.py [--work /tmp/scale] [--steps import,verify] --large [--table]

Each step is the command that a user types, in a process of its own on one thread; its processor seconds and its peak of
memory are what the system counted. Stores hold random float16 features of a vision and a text model, 512 and 384
numbers a layer. Rates are fitted to the runs of each step (non-negative least squares of relative errors) but for one,
of 100,000 rows mostly, which checks them (`CHECKED`). `--large` measures 1,000,000 rows, or fewer where these take more
than minutes. Runs are kept in the work folder (`runs.jsonl`) and not measured again. One JSON line a run: seconds by
the formula, with the rates of the package, over measured ones. `--table` fits the rates to all runs that are kept, and
writes them to configs/measured/scale.yaml.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.update({"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})

import numpy as np
import yaml
from scipy.optimize import nnls

from structure.pipeline.cost_model.extraction_cost import BUNDLED, extraction_terms
from structure.pipeline.cost_model.measured_rates import measured_rates, memory_terms, time_terms, weighted
from structure.pipeline.cost_model.ranking_cost import ranking_terms
from structure.pipeline.cost_model.search_cost import INDEXES, building_terms, exact_terms
from structure.pipeline.cost_model.storage_cost import byte_terms
from structure.pipeline.cost_model.training_cost import RUNS, training_terms
from structure.pipeline.encoders.loading import describe
from structure.pipeline.inference.index_kinds import KINDS, load_faiss
from structure.pipeline.ranking.options import RankingOptions
from structure.store import SampleItem, Samples, open_store

TABLE = Path(__file__).parents[2] / "configs" / "measured" / "scale.yaml"
COMMAND = "python tests/benchmarks/scale.py; python tests/benchmarks/scale.py --large --table"
WIDTHS = {"vision": 512, "text": 384}
SIZES = {
    "small": (10_000, 1),
    "deep": (10_000, 6),
    "middle": (40_000, 1),
    "hundred": (100_000, 2),
    "large": (1_000_000, 1),
}
"""Stores by name: rows, and layers of each model."""
DIM, QUERIES = 512, 20
ABOUT = "Processor seconds and peak memory of each step on one core, as rates of terms (tests/benchmarks/scale.py)"


CHECKED = {
    "import": ("hundred",),
    "store verify": ("hundred",),
    "rank-layers": ("hundred", "middle all", "single all"),
    "align csa none": ("hundred",),
    "align linear none": ("middle",),
    "search": ("hundred",),
    "index hnsw": ("100000",),
    "index ivf": ("100000",),
    "extract": ("8192",),
}
"""Runs of a step that the fit does not see."""


@dataclass(frozen=True)
class Run:
    """One measured run: `terms` are what its time grows with."""

    step: str
    run: str
    rows: int
    terms: dict[str, float]
    seconds: float
    memory: int

    @property
    def fitted(self) -> bool:
        """Whether the fit sees it."""
        unseen = CHECKED.get(self.step, ())
        return self.run not in unseen and not {*self.run.split()} & {*unseen}


LAUNCHER = """
import json, resource, subprocess, sys
done = subprocess.run(sys.argv[2:], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], "w") as file:
    json.dump([used.ru_utime + used.ru_stime, used.ru_maxrss * 1024], file)
sys.stdout.buffer.write(done.stdout)
sys.stderr.buffer.write(done.stderr)
sys.exit(done.returncode)
"""
"""Runs a command and writes what it used: a child of a large process would be counted with that one's memory."""


def counted(arguments: list[str], used: Path) -> tuple[float, int]:
    """(processor seconds, peak bytes) of one command of structure."""
    structure = str(Path(sys.executable).with_name("structure"))
    command = [sys.executable, "-S", "-c", LAUNCHER, str(used), structure, *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with {done.returncode}: {done.stderr[-800:]}")
    seconds, memory = json.loads(used.read_text())
    return seconds, memory


def read(line: str) -> Run:
    """A run as its line has it."""
    return Run(**json.loads(line))


class Bench:
    """The work folder: stores that are made once, and the runs that are kept."""

    def __init__(self, work: Path, *, large: bool) -> None:
        self.work, self.sizes = work, {n: s for n, s in SIZES.items() if large == (n == "large")}
        work.mkdir(parents=True, exist_ok=True)

    def keep(self, run: Run) -> None:
        """Add it to the runs."""
        with (self.work / "runs.jsonl").open("a") as file:
            file.write(json.dumps(asdict(run)) + "\n")

    def runs(self) -> list[Run]:
        """All runs, the newest of each."""
        path = self.work / "runs.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        newest = {(run.step, run.run): run for run in (read(line) for line in lines)}
        return list(newest.values())

    def url(self, name: str) -> str:
        return str(self.work / f"store-{name}")

    def take(self, step: str, run: str, rows: int, terms: dict[str, float], arguments: list[str]) -> None:
        """Measure one command, unless it is kept."""
        if any((kept.step, kept.run) == (step, run) for kept in self.runs()):
            return
        seconds, memory = counted(arguments, self.work / "used.json")
        self.keep(Run(step, run, rows, terms, seconds, memory))


def features_file(bench: Bench, rows: int, layers: int, modality: str) -> Path:
    """Random features of a model in one file, with ids."""
    random = np.random.default_rng(rows + layers)
    values = {f"block.{n:02d}": random.random((rows, WIDTHS[modality]), dtype=np.float32) for n in range(layers)}
    path = bench.work / f"{modality}.npz"
    np.savez(
        path, ids=np.array([f"s{n:08d}" for n in range(rows)]), **{n: v.astype(np.float16) for n, v in values.items()}
    )
    return path


def importing(bench: Bench) -> None:
    for name, (rows, layers) in bench.sizes.items():
        for modality, width in WIDTHS.items():
            path = features_file(bench, rows, layers, modality)
            terms = byte_terms(rows, rows * layers * width * 2)
            where = ["--model", modality, "--modality", modality, "--dataset", "scale", "--store", bench.url(name)]
            bench.take("import", f"{name} {modality}", rows, terms, ["import", str(path), *where])
            path.unlink()


def verifying(bench: Bench) -> None:
    for name, (rows, layers) in bench.sizes.items():
        terms = byte_terms(rows, rows * layers * sum(WIDTHS.values()) * 2)
        bench.take("store verify", name, rows, terms, ["store", "verify", "--store", bench.url(name)])


def ranking(bench: Bench) -> None:
    most = RankingOptions().most_rows or 0
    for name, (rows, layers) in bench.sizes.items():
        widths = tuple((width,) * layers for width in WIDTHS.values())
        store = ["--store", bench.url(name)]
        remove(bench.url(name), "rankings", "neighbours")
        terms = ranking_terms(rows, min(most, rows), *widths)
        bench.take("rank-layers", name, rows, terms, ["rank-layers", *store])
        if name in ("small", "deep", "middle"):
            remove(bench.url(name), "rankings", "neighbours")
            terms = ranking_terms(rows, rows, *widths)
            bench.take("rank-layers", f"{name} all", rows, terms, ["rank-layers", "--samples", "all", *store])


EPOCHS = {"small": 8, "deep": 2, "middle": 3, "hundred": 3}


def aligning(bench: Bench) -> None:
    for name, (rows, layers) in bench.sizes.items():
        for run in RUNS:
            gradient = run.name == "linear"
            if (gradient and name not in EPOCHS) or (run.regulariser == "structure" and name == "hundred"):
                continue
            layer = f"block.{layers - 1:02d}"
            arguments = [
                "align",
                "--layers",
                f"{layer},{layer}",
                "--method",
                run.name,
                "--regulariser",
                run.regulariser,
            ]
            if run.regulariser == "structure":
                arguments += ["--weight", "10"]
            arguments += ["--epochs", str(EPOCHS[name]), "--lr", "0.001"] if gradient else []
            arguments += ["--name", f"{run.name}-{run.regulariser}", "--replace", "--store", bench.url(name)]
            remove(bench.url(name), "aligners")
            terms = training_terms(run, (512, 384), rows, epochs=EPOCHS.get(name, 1) if gradient else 1)
            bench.take(run.step, name, rows, terms, arguments)


def searching(bench: Bench) -> None:
    """Queries one at a time among random unit rows, in this process on one thread."""
    import torch

    from structure.pipeline.similarity.knn.top_k import GalleryArray, top_k

    torch.set_num_threads(1)
    for name in {size[0]: name for name, size in bench.sizes.items()}.values():
        rows = SIZES[name][0]
        gallery, queries = GalleryArray(unit_rows(rows).astype(np.float16)), unit_rows(QUERIES)
        top_k(queries[:1], gallery, k=10)
        began = time.process_time()
        for query in queries:
            top_k(query[None], gallery, k=10)
        seconds = (time.process_time() - began) / QUERIES
        bench.keep(Run("search", name, rows, exact_terms(gallery.values.nbytes), seconds, 0))


def indexing(bench: Bench) -> None:
    faiss = load_faiss()
    faiss.omp_set_num_threads(1)
    for kind in (KINDS[name] for name in INDEXES):
        for rows in (10_000, 40_000) if "small" in bench.sizes else (100_000,):
            values = unit_rows(rows)
            index, began = kind.make(DIM, rows), time.process_time()
            if kind.training_rows(rows):
                index.train(values[: kind.training_rows(rows)])
            index.add(values)
            seconds = time.process_time() - began
            terms = building_terms(kind, rows, DIM)
            bench.keep(Run(f"index {kind.name}", str(rows), rows, terms, seconds, 0))


def extracting(bench: Bench) -> None:
    for rows in (512, 2048) if "small" in bench.sizes else (8192,):
        for modality, model in BUNDLED.items():
            found = describe(model)
            tokens = (64 // 8) ** 2 + 1 if modality == "vision" else 20
            remove(str(bench.work / "extract"), "features", "samples")
            arguments = ["extract", "--model", model, "--dataset", f"scenes:{rows}", "--workers", "0", "--yes"]
            terms = extraction_terms(rows, 2.0 * found.parameters * tokens * rows)
            run = f"{model} {rows}"
            bench.take("extract", run, rows, terms, [*arguments, "--store", str(bench.work / "extract")])


def unit_rows(rows: int) -> np.ndarray:
    values = np.random.default_rng(rows).standard_normal((rows, DIM), dtype=np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def remove(url: str, *folders: str) -> None:
    """Make a store forget these folders, so that a run computes again."""
    import shutil

    for folder in folders:
        shutil.rmtree(Path(url) / folder, ignore_errors=True)


def fitted(runs: list[Run], *, memory: bool) -> dict[str, float]:
    """The rates of one step: non-negative least squares of relative errors over the runs that are to be fitted."""
    seen = [run for run in runs if run.fitted] or runs
    terms = [memory_terms(run.terms) if memory else time_terms(run.terms) for run in seen]
    names = list(dict.fromkeys(name for each in terms for name in each if name != "held"))
    values = np.array([run.memory if memory else run.seconds for run in seen], dtype=np.float64)
    if not names or not values.all():
        return {}
    values -= [each.get("held", 0.0) for each in terms]  # bytes themselves: their rate is 1
    amounts = np.array([[each.get(name, 0.0) for name in names] for each in terms])
    scale = amounts.max(axis=0)
    found, _ = nnls(amounts / scale / values[:, None], np.ones(len(values)))
    rates = {name: float(f"{rate / by:.4g}") for name, rate, by in zip(names, found, scale, strict=True)}
    return rates | ({"held": 1.0} if any("held" in each for each in terms) else {})


def step_table(name: str, runs: list[Run], *, fit: bool) -> dict[str, Any]:
    """The rates of a step and its checks, as the file has them: fitted to these runs, or those of the package."""
    if fit:
        seconds, memory = fitted(runs, memory=False), fitted(runs, memory=True)
    else:
        known = measured_rates().step(name)
        seconds, memory = dict(known.seconds), dict(known.memory)
    checks = [
        {
            "rows": run.rows,
            "run": run.run,
            "seconds": float(f"{run.seconds:.4g}"),
            "seconds_by_formula": float(f"{weighted(seconds, time_terms(run.terms)):.4g}"),
            "memory": run.memory,
            "memory_by_formula": round(weighted(memory, memory_terms(run.terms))),
            "fitted": run.fitted,
        }
        for run in sorted(runs, key=lambda run: (run.rows, run.run))
    ]
    return {"name": name, "seconds": seconds, "memory": memory, "checks": checks}


def index_sizes(bench: Bench) -> dict[str, float]:
    """Bytes of a row of the sample index with a caption of ten words, and of a feature set's copy of the ids."""
    rows, random = 100_000, np.random.default_rng(0)
    words = [f"w{n:x}" * 2 for n in range(3000)]
    captions = [" ".join(words[word] for word in row) for row in random.zipf(1.3, (rows, 10)) % len(words)]
    items = [SampleItem(f"s{n:08d}", (text,), digest=random.bytes(32).hex()) for n, text in enumerate(captions)]
    remove(str(bench.work / "store-index"), "samples")
    store = open_store(str(bench.work / "store-index"))
    store.put_samples(Samples.build("scale", "train", items))
    table = bench.work / "store-index" / "samples" / "scale" / "train.parquet"
    ids = bench.work / "store-hundred" / "features" / "scale" / "train" / "vision" / "sample"
    held = sum(path.stat().st_size for path in ids.rglob("*") if path.is_file())
    return {"index_bytes": round(table.stat().st_size / rows, 1), "ids_bytes": round(held / rows, 2)}


def processor() -> str:
    names = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith(("model name", "flags"))
    ]
    model = names[0].partition(":")[2].strip()
    kinds = [
        kind
        for kind in ("avx2", "avx512f", "amx_tile")
        if f" {kind}" in next(n for n in names if n.startswith("flags"))
    ]
    return f"{model} ({', '.join(kinds)})"


MEASURES: dict[str, Callable[[Bench], None]] = {
    "import": importing,
    "verify": verifying,
    "rank": ranking,
    "align": aligning,
    "search": searching,
    "index": indexing,
    "extract": extracting,
}


def main() -> None:
    """Measure, print one line a run, and with --table write the rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("/tmp/scale"))
    parser.add_argument("--steps", default=",".join(MEASURES))
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    bench = Bench(given.work, large=given.large)
    for step in given.steps.split(",") if given.steps else ():
        MEASURES[step](bench)
    runs = bench.runs()
    names = dict.fromkeys(run.step for run in runs)
    steps = [step_table(name, [run for run in runs if run.step == name], fit=given.table) for name in names]
    for step in steps:
        for check in step["checks"]:
            ratio = check["seconds_by_formula"] / check["seconds"]
            print(json.dumps({"measure": step["name"], "ratio": round(ratio, 2), **check}), flush=True)
    if given.table:
        head = {
            "about": ABOUT,
            "processor": processor(),
            "date": datetime.date.today().isoformat(),
            "command": COMMAND,
            "rows_had": "ids of 9 characters, captions of 10 words, a digest of 64",
            **index_sizes(bench),
            "sampled_ranking": json.loads((given.work / "sampled.json").read_text()),
        }
        TABLE.write_text(yaml.safe_dump({**head, "steps": steps}, sort_keys=False, width=120, default_flow_style=None))


if __name__ == "__main__":
    main()
