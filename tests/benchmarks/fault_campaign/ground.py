"""The stages that are attacked, each with the store that it starts from and what it must leave."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from structure.pipeline.owned_files import kind_of

from .children import Command, Done, command, save_states
from .normal_form import differences, tree

SUITE = """\
name: own
version: 1
defaults: {dataset: 'scenes:24', split: test}
tasks:
  - {kind: zeroshot_retrieval, metric: image_retrieval_recall@1}
  - {label: shape, kind: zeroshot_classification, metric: acc1, prompts: plain}
  - {kind: segmentation, metric: miou, prompts: plain, background: ignored}
"""
RECIPE = {
    "name": "small",
    "version": 1,
    "about": "One ranking, two choices of layers.",
    "encoders": [{"vision": "bundled:scenes-vit", "text": "bundled:scenes-text"}],
    "extract": {"dataset": "scenes:60", "split": "train"},
    "rank": [{"name": "auto", "k": 5, "calibrate": 5}],
    "align": {"options": {"dim": 8, "epochs": 2, "batch": 32, "learning_rate": 0.001}, "seeds": [1],
              "grid": {"layers": ["last", "auto", "block.00,block.00"]}},
    "evaluate": {"suite": "scenes", "datasets": ["scenes/colour"]},
    "correlate": {"ranking": "auto"},
}  # fmt: skip
QUICK = "--method linear --dim 8 --lr 1e-3 --test 0.2 --layers last"
LONG = f"align {QUICK} --epochs 300 --name long"
STATE = "state of: "
"""Before a command: it is killed as soon as its training has saved its state."""
VIT = "features/scenes/train/scenes-vit"


def words(line: str) -> tuple[str, ...]:
    return tuple(line.split())


@dataclass(frozen=True)
class Stage:
    """A command, the store that it starts from (a name of `BASES`), and what is done to that store before. Where it was
    stopped after its last step, it may say `done` when it is called again."""

    name: str
    line: str
    base: str
    before: Callable[[Path], None] = lambda place: None
    done: str = ""


def _orphans(place: Path) -> None:
    for number in range(40):
        gone = place / f"store/neighbours/scenes/gone/{number}/block.00.npz"
        gone.parent.mkdir(parents=True)
        gone.write_bytes(b"of features that are not there")


def _broken(place: Path) -> None:
    for name in ("block.01/c/0/0", "block.03/zarr.json", "done/000000.json"):
        (place / "store" / VIT / name).write_bytes(b"damaged")


BASES: dict[str, tuple[str, list[str]]] = {
    "nothing": ("", []),
    "features": ("", ["extract --model bundled:scenes-vit --model bundled:scenes-text --dataset scenes:60"]),
    "ranked": ("features", ["rank-layers --k 4 --calibrate 0 --repeats 0"]),
    "aligned": (
        "ranked",
        [f"align {QUICK} --epochs 2 --seed {seed} --name {name}" for name, seed in (("a", 1), ("b", 2))],
    ),
    "whole": (
        "aligned",
        [
            "eval --suite {place}/own.yaml --aligner a --aligner b --data-root {place}",
            "eval --compare a b",
            "run {place}/small.yaml",
            "align --method csa --curve 20 --dim 6 --layers block.03,block.03 --seeds 1",
            "search red --aligner a --dataset scenes",
            "rank-layers --all --between vision-text --k 4 --calibrate 0 --repeats 0",
            "extract --model bundled:scenes-vit --dataset folder:{place}/photos --layers block.03",
            STATE + LONG,
            "report",
        ],
    ),
}
"""Name of a store -> the store that it is made from, and the commands that make it."""

EXTRACT = "extract --model bundled:scenes-vit --model bundled:scenes-text --dataset scenes:{rows}"
THERE = "is there and not empty"
STAGES = (
    Stage("extract", EXTRACT.replace("{rows}", "60"), "nothing"),
    Stage("extract --append", EXTRACT.replace("{rows}", "100") + " --append", "features"),
    Stage("rank-layers", "rank-layers --k 4 --calibrate 20 --repeats 1", "features"),
    Stage("align, trained", f"align {QUICK} --epochs 12 --name new", "ranked"),
    Stage("align, closed form", "align --method csa --dim 8 --layers last --name new --test 0.2", "ranked"),
    Stage("align --replace", f"align {QUICK} --epochs 3 --seed 3 --name a --replace", "whole"),
    Stage("eval", "eval --suite {place}/own.yaml --aligner a --data-root {place}", "aligned"),
    Stage("run", "run {place}/small.yaml", "features"),
    Stage("report", "report", "whole", lambda place: (place / "store/report.html").unlink(missing_ok=True)),
    Stage("import", "import {place}/vit.npz --model vit --modality vision --dataset cells", "nothing"),
    Stage("store gc --yes", "store gc --yes", "whole", _orphans),
    Stage("store repair", "store repair scenes/train/scenes-vit", "aligned", _broken),
    Stage("export", "export a {place}/out --format safetensors", "aligned", done=THERE),
    Stage("search", "search red --aligner a --dataset scenes", "aligned"),
    Stage("index", "index --aligner a --dataset scenes --out {place}/idx", "aligned", done=THERE),
    Stage("store drop-items", "store drop-items --dataset scenes --ids {place}/ids.txt --yes", "whole"),
)


def is_cache(name: str) -> bool:
    """Whether a file of a try is of a kind that is made again when it is needed."""
    found = kind_of(name.removeprefix("store/"))
    return found is not None and found[0].is_cache


@dataclass
class Ground:
    """Stores to start from, made once in a folder; every try works on a copy at one path, which records may hold."""

    folder: Path
    made: dict[str, Path] = field(default_factory=dict)
    left: dict[str, tuple[dict[str, Any], float]] = field(default_factory=dict)

    @property
    def place(self) -> Path:
        return self.folder / "try"

    def line(self, line: str, *, store: str = "") -> list[str]:
        """The words of a command on the store of a try."""
        quiet = [] if line.startswith("store ") else ["--quiet"]
        return [*words(line.format(place=self.place)), "--store", store or str(self.place / "store"), *quiet]

    def do(self, line: str, log: str = "log") -> Done:
        return command(self.line(line), self.folder / log)

    def base(self, name: str) -> Path:
        """The store of that name with its files beside it; made at the first call."""
        if name in self.made:
            return self.made[name]
        before, lines = BASES[name]
        if before:
            self.copy(before)
        else:
            shutil.rmtree(self.place, ignore_errors=True)
            self.place.mkdir()
            self.write_beside()
        for line in lines:
            if line.startswith(STATE):
                self.leave_state(line.removeprefix(STATE))
                continue
            done = self.do(line)
            if done.code or done.crashed:
                raise RuntimeError(f"{line} ended with {done.code}: {done.stderr[-1500:]}")
        self.made[name] = self.folder / f"base-{name}"
        shutil.copytree(self.place, self.made[name])
        return self.made[name]

    def leave_state(self, line: str) -> None:
        """Do a command until its training has saved its state."""
        running = Command(self.line(line), self.folder / "log", save_states)
        while not list(self.place.glob("store/checkpoints/*/[!.]*")):
            time.sleep(0.001)
        running.send(signal.SIGKILL)
        running.wait()

    def write_beside(self) -> None:
        """Files that commands read which are not of the store."""
        (self.place / "own.yaml").write_text(SUITE)
        (self.place / "small.yaml").write_text(json.dumps(RECIPE))
        (self.place / "ids.txt").write_text("000003\n")
        photos = self.place / "photos/train/red"
        photos.mkdir(parents=True)
        for number in range(4):
            (photos / f"{number}.ppm").write_bytes(b"P6 8 8 255\n" + bytes([200, 10 * number, 0]) * 64)
        (photos / "broken.png").write_bytes(b"no image")
        draws = np.random.default_rng(0)
        blocks = {f"block.{i:02d}": draws.standard_normal((60, 6)).astype(np.float32) for i in range(3)}
        np.savez(self.place / "vit.npz", **blocks)  # type: ignore[arg-type]

    def copy(self, base: str) -> None:
        """A fresh copy of a base at the place of tries."""
        source = self.base(base)
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(source, self.place)

    def start(self, stage: Stage) -> None:
        self.copy(stage.base)
        stage.before(self.place)

    def tree(self) -> dict[str, Any]:
        return tree(self.place)

    def expected(self, stage: Stage) -> tuple[dict[str, Any], float]:
        """What the stage leaves, and its seconds; RuntimeError where two runs of it do not leave the same."""
        if stage.name not in self.left:
            trees, seconds = [], 0.0
            for _ in range(2):
                self.start(stage)
                done = self.do(stage.line)
                if done.code or done.crashed:
                    raise RuntimeError(f"{stage.name} ended with {done.code}: {done.stderr[-1500:]}")
                seconds = done.seconds
                trees.append(self.tree())
            if unlike := differences(*trees):
                raise RuntimeError(f"two runs of {stage.name} differ: {unlike[:5]}")
            self.left[stage.name] = trees[0], seconds
        return self.left[stage.name]

    def again(self, stage: Stage) -> list[str]:
        """Do the same command again; what it says where it does not end well."""
        done = self.do(stage.line)
        if done.crashed or (done.code and not (stage.done and stage.done in done.stderr)):
            return [f"again: exit {done.code}, {done.told()}"]
        return []

    def differences(self, wanted: dict[str, Any]) -> list[str]:
        """What is not as it should be. A cache that is made again when it is needed may lack, or be there already."""
        found = self.tree()
        apart = {name for name in found.keys() ^ wanted.keys() if is_cache(name)}
        return differences(*({name: at[name] for name in at.keys() - apart} for at in (found, wanted)))

    def faults(self) -> Sequence[str]:
        """What `store verify` says is wrong; nothing where all is well."""
        done = self.do("store verify", "verify")
        return [] if not done.code and not done.crashed else [*done.stdout.splitlines()[:5], done.told()]
