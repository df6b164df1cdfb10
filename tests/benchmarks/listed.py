"""The scripts that BENCHMARKS.md is made of, and what the figures of each are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.processes import PROGRAM

FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Bound:
    """A figure and what it is compared with: at least `least`, at most `most`; in lines whose name begins with `of`."""

    figure: str
    least: float | None = None
    most: float | None = None
    of: str = ""

    def told(self) -> str:
        return f"{self.figure} at {'least' if self.most is None else 'most'} {self.least or self.most:g}"

    def met(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


@dataclass(frozen=True)
class Script:
    """One script of this folder, or package of them: how it is called, after which commands, within how many minutes,
    and its bounds."""

    name: str
    theme: str
    beside: str
    arguments: tuple[str, ...] = ()
    before: tuple[tuple[str, ...], ...] = ()
    minutes: float = 8
    bounds: tuple[Bound, ...] = ()
    gpu: bool = False

    @property
    def file(self) -> Path:
        folder = FOLDER / self.name
        return folder / "__main__.py" if folder.is_dir() else folder.with_suffix(".py")


SCENES = (str(PROGRAM), "extract", "--model", "bundled:scenes-vit", "--model", "bundled:scenes-text")
FORECAST = (Bound("seconds_ratio", most=2, of="forecast"), Bound("memory_ratio", most=2, of="forecast"))
FITS = (Bound("cpu_s", most=40, of="fits"), Bound("peak_mb", most=1500, of="fits"))
AT_SCALE = (Bound("ratio", most=1.3, of="bare"), *FITS, *FORECAST)
SCRIPTS = (
    Script(
        "store",
        "Store: writing, reading, shuffled reading",
        "np.save, np.load and rows in memory, alternating in one process",
        ("--layers", "12", "--repeats", "5"),
        bounds=(
            Bound("ratio", least=0.5, of="write"),
            Bound("ratio", least=1.0, of="read"),
            Bound("ratio", least=0.8, of="shuffled"),
            Bound("ratio", most=1.05, of="token bytes"),
        ),
    ),
    Script(
        "million_rows",
        "A million rows: import, verify, the sample index, a report",
        "np.save with fsync, a CRC-32C of every file, and pq.read_table, each as a process of its own",
        bounds=(
            Bound("ratio", most=2, of="import"),
            Bound("peak_mb", most=400, of="import"),
            Bound("cpu_s", most=4, of="verify"),
            Bound("peak_mb", most=300, of="verify"),
            Bound("open_s", most=1, of="sample index"),
            Bound("held_mb", most=100, of="sample index"),
            Bound("cpu_s", most=2, of="report"),
        ),
    ),
    Script(
        "extraction",
        "Extraction: overhead of storing every layer",
        "the forward loop alone, with the same model and batches",
        bounds=(Bound("overhead", most=0.05),),
    ),
    Script("throughput", "Extraction: texts and images per second", "a hand-written loop in the same process"),
    Script(
        "ranking",
        "Ranking: every pair of layers",
        "a direct computation for each pair, and the float32 matrix products alone",
        bounds=(
            Bound("times_faster_s", least=60, of="pairs"),
            Bound("peak_mib", most=2000, of="rows"),
            Bound("ratio", most=0.6, of="products"),
            Bound("power", most=2.1, of="growth"),
        ),
    ),
    Script(
        "permutation_null",
        "Ranking: the null distribution of a permutation test",
        "counting the shared neighbours of each permutation anew",
        bounds=(Bound("plain_over_ours", least=3), Bound("seconds", most=0.5)),
    ),
    Script(
        "regulariser",
        "Training: a step with R_S",
        "a direct implementation of the formula in torch",
        bounds=(
            Bound("plain_over_tiled", least=4, of="time"),
            Bound("tiled_over_plain", most=0.15, of="memory"),
            Bound("total_mb", most=1024, of="large"),
        ),
    ),
    Script(
        "klot",
        "Training: KLOT with its gradient",
        "the iterations of log-sum-exp written plainly in torch",
        bounds=(
            Bound("ours_over_plain", most=1.3, of="time"),
            Bound("ours_over_plain", most=0.5, of="memory"),
        ),
    ),
    Script(
        "sotalign",
        "Training: a step of SOTAlign on 4,096 pairs and 4,096 unpaired rows",
        "the formula written plainly in torch",
        bounds=(
            Bound("ours_over_plain", most=1.3, of="time"),
            Bound("ours_over_plain", most=0.5, of="memory"),
        ),
    ),
    Script(
        "methods_at_scale",
        "Training: closed forms at many rows",
        "the same products over the same shards",
        bounds=AT_SCALE,
    ),
    Script(
        "training_steps",
        "Training: steps against a bare loop, and with R_S",
        "the bare loop in torch, and the same steps without R_S",
        bounds=(Bound("share", most=1.15, of="plain"), Bound("share", most=1.5, of="structure")),
    ),
    Script("token_pooling", "Training: pooling tokens", "a direct implementation of the formula in torch"),
    Script(
        "training",
        "Training: a whole run from the store",
        "the same run from tensors in memory",
        ("--store", "{work}/training", "--layers", "block.05,block.03"),
        before=((*SCENES, "--dataset", "scenes:2000", "--store", "{work}/training", "--quiet"),),
        bounds=(Bound("store_over_memory", most=1.15),),
    ),
    Script(
        "evaluation",
        "Evaluation: ten aligners from cached features",
        "clip_benchmark, which encodes all samples for each aligner",
        bounds=(Bound("ratio", least=50),),
    ),
    Script(
        "faults",
        "Faults: killed processes, damaged files, full disks, concurrent runs, lost workers",
        "the bytes of an uninterrupted run",
        ("--kills", "40", "--damages", "60", "--full-disks", "3", "--races", "10", "--clusters", "1"),
        bounds=(Bound("wrong", most=0), Bound("unseen", most=0), Bound("unmended", most=0)),
    ),
    Script(
        "fault_campaign",
        "Faults: signals, damaged files, concurrent commands and a machine that lacks something, in training",
        "the store that the same commands leave without a fault",
        ("--only", "align", "--kills", "18", "--damages", "14", "--pairs", "5", "--remote", "0", "--environment", "12"),
        bounds=(Bound("wrong", most=0), Bound("unseen", most=0)),
    ),
    Script(
        "search",
        "Search: the ten best of a million stored embeddings",
        "the product and top-k of torch over one array in memory",
        bounds=(Bound("times_bare", most=1.2),),
    ),
    Script(
        "serve",
        "Serve: answers over loopback",
        "the wait that a user of the page does not notice",
        ("{work}/serve",),
        before=(
            (*SCENES, "--dataset", "scenes:2000", "--layers", "block.03", "--store", "{work}/serve", "--quiet"),
            (str(PROGRAM), "align", "--layers", "last", "--method", "ridge", "--store", "{work}/serve", "--quiet"),
        ),
        bounds=(Bound("p50_ms", most=60, of="serve|sequential"),),
    ),
    Script(
        "commands",
        "Whole commands, imports included, on the store of the scenes demo",
        "the wait that each may take, in seconds",
        minutes=15,
        bounds=(
            Bound("wall_s", most=60, of="demo"),
            Bound("wall_s", most=1.5, of="nothing new"),
            Bound("wall_s", most=4, of="cold"),
            Bound("wall_s", most=5, of="20 aligners"),
            Bound("wall_s", most=15, of="first: align"),
            Bound("wall_s", most=6, of="first: search"),
        ),
    ),
    Script("bundled_encoders", "Bundled encoders: information in their layers", "chance"),
    Script(
        "gpu",
        "On a GPU: bf16 extraction, ranking of 118,000 rows, training on 80,000 pairs",
        "the forward loop alone over the same batches, limits of one and five minutes, and the results on the CPU",
        bounds=(
            Bound("ratio", least=0.95, of="extraction"),
            Bound("seconds", most=60, of="ranking"),
            Bound("seconds", most=300, of="training"),
            Bound("apart", most=0.01),
        ),
        gpu=True,
    ),
)
