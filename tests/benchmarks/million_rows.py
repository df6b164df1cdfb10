"""A million rows: importing, checking and opening them, and a report, beside what a bare script takes.

    python tests/benchmarks/million_rows.py [--rows 1000000 --width 384 --wide 768 --repeats 3]

Every measure is a process of its own, so that its seconds count the start of Python and its memory is its own: the peak
that the system reports, in which pages of mapped files count. Both sides take turns; figures are medians, `ratio` is
ours over the bare script's in seconds by the clock and `cpu_ratio` in processor seconds. One JSON line a measure:

- import: `structure import` of a `.npy` file of float16; bare: `np.load` of the file and `np.save` with fsync
- verify: `structure store verify` of a wider one; bare: a CRC-32C of every file of the store
- sample index: opening one whose samples have a caption and a digest each, up to which rows are there and which data
  they are of; bare: `pq.read_table`. Its memory is what the process holds over what it held before.
- report: the first page of a store with two imports and their ranking, where the user's cache has the script of charts
  as after any earlier page, and the page when nothing is new
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from structure.store import SampleItem, Samples, open_store
from tests.benchmarks.processes import PROGRAM, in_a_process, run, tell

COPY = """
import os, sys
import numpy as np
with open(sys.argv[2], "wb") as file:
    np.save(file, np.load(sys.argv[1]))
    file.flush()
    os.fsync(file.fileno())
"""

CHECKSUMS = """
import sys
from pathlib import Path
import crc32c
for path in Path(sys.argv[1]).rglob("*"):
    if path.is_file():
        crc32c.crc32c(path.read_bytes())
"""

OPEN = """
import json, sys, time
from pathlib import Path
from structure.store import open_store
def held():
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) / 1000
store, before, began = open_store(sys.argv[1]), held(), time.process_time()
samples = store.samples("bench", "train")
assert len(samples) == samples.row_count("captions") == int(sys.argv[2])
assert not samples.is_withdrawn.any()
opened = time.process_time() - began
assert samples.digest("items") != samples.digest("captions")
assert len(samples.values("text", samples.item_of_caption()[:5000])) == 5000
print(json.dumps({"open_s": opened, "cpu_s": time.process_time() - began, "held_mb": held() - before}))
"""

TABLE = """
import json, sys, time
from pathlib import Path
import pyarrow.parquet as pq
began = time.process_time()
table = pq.read_table(sys.argv[1])
assert len(table) == int(sys.argv[2])
print(json.dumps({"cpu_s": time.process_time() - began}))
"""

WORDS = ("a", "red", "blue", "small", "dog", "house", "beside", "under", "tree", "with", "two", "people", "walking")


def turns(
    ours: Sequence[str | Path], bare: Sequence[str | Path], repeats: int, prepare: Callable[[], None] = lambda: None
) -> dict[str, float]:
    """Medians of both, of their ratios, and our peak."""
    pairs = []
    for _ in range(repeats):
        prepare()
        theirs = run(bare)
        prepare()
        pairs.append((run(ours), theirs))
    return {
        "wall_s": statistics.median(mine.wall for mine, _ in pairs),
        "cpu_s": statistics.median(mine.cpu for mine, _ in pairs),
        "bare_wall_s": statistics.median(bare.wall for _, bare in pairs),
        "bare_cpu_s": statistics.median(bare.cpu for _, bare in pairs),
        "ratio": statistics.median(mine.wall / bare.wall for mine, bare in pairs),
        "cpu_ratio": statistics.median(mine.cpu / bare.cpu for mine, bare in pairs),
        "peak_mb": max(mine.peak_mb for mine, _ in pairs),
    }


def features(path: Path, rows: int, width: int) -> None:
    """A `.npy` file of float16 values."""
    random = np.random.default_rng(0)
    values = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(rows, width))
    for start in range(0, rows, 50_000):
        part = values[start : start + 50_000]
        part[:] = random.standard_normal(part.shape, dtype=np.float32)
    values.flush()


def importing(file: Path, store: Path, modality: str = "vision") -> list[str | Path]:
    words = [PROGRAM, "import", file, "--model", file.stem, "--modality", modality, "--dataset", "bench"]
    return [*words, "--store", store, "--quiet"]


def sample_index(store: Path, rows: int) -> None:
    random = np.random.default_rng(0)

    def item(number: int) -> SampleItem:
        text = " ".join(WORDS[word] for word in random.integers(0, len(WORDS), 10))
        return SampleItem(f"img{number:08d}", (text,), random.bytes(32).hex(), f"{number}:{number}")

    open_store(store).put_samples(Samples.build("bench", "train", map(item, range(rows))))


def ranked(folder: Path, store: Path) -> None:
    """A store of two imports and their ranking."""
    random = np.random.default_rng(0)
    common = random.standard_normal((500, 16))
    for name, modality in (("image", "vision"), ("words", "text")):
        layers = {f"block.{depth:02d}": common @ random.standard_normal((16, 32)) for depth in range(6)}
        np.savez(folder / f"{name}.npz", **{layer: values.astype(np.float16) for layer, values in layers.items()})
        run(importing(folder / f"{name}.npz", store, modality))
    run([PROGRAM, "rank-layers", "--store", store, "--quiet"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--wide", type=int, default=768, help="numbers in a row of what is checked")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python: list[str | Path] = [sys.executable, "-c"]

        def clear() -> None:
            shutil.rmtree(folder / "imported", ignore_errors=True)
            (folder / "copy.npy").unlink(missing_ok=True)

        file = folder / "narrow.npy"
        in_a_process(features, file, given.rows, given.width)
        copy = [*python, COPY, file, folder / "copy.npy"]
        tell("import", **turns(importing(file, folder / "imported"), copy, given.repeats, clear))
        clear()
        file.unlink()

        file = folder / "wide.npy"
        in_a_process(features, file, given.rows, given.wide)
        run(importing(file, folder / "store"))
        file.unlink()
        verify = [PROGRAM, "store", "verify", "--store", folder / "store"]
        tell("verify", **turns(verify, [*python, CHECKSUMS, folder / "store"], given.repeats))
        shutil.rmtree(folder / "store")

        in_a_process(sample_index, folder / "index", given.rows)
        table = folder / "index" / Samples.file("bench", "train")
        opened = [*python, OPEN, folder / "index", str(given.rows)]
        read = [*python, TABLE, table, str(given.rows)]
        pairs = [(json.loads(run(opened).out), json.loads(run(read).out)) for _ in range(given.repeats)]
        medians = {key: statistics.median(mine[key] for mine, _ in pairs) for key in pairs[0][0]}
        bare = statistics.median(theirs["cpu_s"] for _, theirs in pairs)
        tell("sample index", **medians, bare_cpu_s=bare)

        ranked(folder, folder / "ranked")
        page = [PROGRAM, "report", "--store", folder / "ranked"]
        runs = []
        for _ in range(given.repeats):
            (folder / "ranked" / "report.html").unlink(missing_ok=True)
            runs.append((run(page), run(page)))
        for measure, number in (("report, first", 0), ("report, nothing new", 1)):
            wall, cpu = (statistics.median(getattr(pair[number], of) for pair in runs) for of in ("wall", "cpu"))
            tell(measure, wall_s=wall, cpu_s=cpu)


if __name__ == "__main__":
    main()
