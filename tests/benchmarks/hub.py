"""Three views of icons around one hub: the drawn image, the name, and statistics of the SVG path; every way measured.

`python -m tests.benchmarks.hub STORE` needs the extra `demo` and a store with the features of both splits:

    structure extract --model efficientnet-lite0 --layers block.13 --dataset icons:2400 --split train --store STORE
    structure extract --model minilm --layers block.05 --dataset icons:2400 --split train --store STORE
    (and both with --dataset icons --split test, and --split val for the temperatures)

It imports the third view as the modality `path`, aligns image and path with the name, one pair of modalities each, and
prints a JSON line for each way: recall@10 over the test icons, with its 95 % interval. `direct` is an aligner that was
trained on the pairs of image and path themselves, which a hub does not have. `python -m tests.benchmarks.hub STORE
temperatures` prints the recall over the val icons at several temperatures of the bridge instead.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from structure.pipeline import align, import_features
from structure.pipeline.evaluation.evaluated_aligner import EvaluatedAligner
from structure.pipeline.inference.gallery_sources import GalleryChoice
from structure.pipeline.inference.modality_hub import ModalityHub, item_rows
from structure.pipeline.metrics.intervals import mean_interval
from structure.pipeline.run_context import RunContext
from structure.store import Store, open_store

COMMANDS = "MmLlHhVvCcSsQqTtAaZz"
GRID, SIDE = 8, 24
MODALITIES = ("vision", "text", "path")
PAIRS = {"image": ("vision", "text"), "path": ("path", "text"), "direct": ("vision", "path")}
METHODS: dict[str, dict[str, Any]] = {
    "ridge": {},
    "csa": {"dim": 64, "regulariser": "none"},
    "kernel-csa": {"dim": 256},
}
K = 10


def path_statistics(path: str) -> np.ndarray:
    """(108,) float32 of an SVG path: commands by kind, subpaths, letters, numbers, their mean, spread and decimals; the
    box, centre and spread of the end points, and how many of them are in each cell of a grid over the canvas."""
    steps = re.findall(rf"([{COMMANDS}])([^{COMMANDS}]*)", path)
    kinds = np.array([sum(kind == one for kind, _ in steps) for one in COMMANDS], dtype=np.float64)
    numbers = np.array([float(n) for n in re.findall(r"-?(?:\d+\.?\d*|\.\d+)", path)] or [0.0])
    points = np.array(_end_points(steps))
    cells = np.clip((points / SIDE * GRID).astype(int), 0, GRID - 1)
    grid = np.bincount(cells[:, 1] * GRID + cells[:, 0], minlength=GRID * GRID)
    sizes = [path.lower().count("m"), len(path), len(numbers), numbers.mean(), numbers.std(), path.count(".")]
    lengths = np.linalg.norm(np.diff(points, axis=0), axis=1) if len(points) > 1 else np.zeros(1)
    box = [*points.min(axis=0), *points.max(axis=0), *points.mean(axis=0), *points.std(axis=0)]
    steps_of = [lengths.sum(), lengths.mean(), lengths.max(), lengths.std()]
    turns = np.histogram(np.arctan2(*np.diff(points, axis=0).T[::-1]) if len(points) > 1 else [0.0], 6, (-np.pi, np.pi))
    return np.concatenate([np.log1p(kinds), np.log1p(np.abs(sizes)), box, np.log1p(steps_of), turns[0], np.log1p(grid)])


def _end_points(steps: list[tuple[str, str]]) -> list[tuple[float, float]]:
    """Where each command ends; of an arc or a curve the control points are left out."""
    x = y = 0.0
    found = []
    width = {"M": 2, "L": 2, "H": 1, "V": 1, "C": 6, "S": 4, "Q": 4, "T": 2, "A": 7, "Z": 0}
    for kind, rest in steps:
        numbers = [float(n) for n in re.findall(r"-?(?:\d+\.?\d*|\.\d+)", rest)]
        size, relative = width[kind.upper()], kind.islower()
        for at in range(0, len(numbers) - size + 1, size) if size else ():
            part = numbers[at : at + size]
            if kind.upper() == "H":
                x = part[0] + (x if relative else 0)
            elif kind.upper() == "V":
                y = part[0] + (y if relative else 0)
            else:
                x, y = part[-2] + (x if relative else 0), part[-1] + (y if relative else 0)
            found.append((x, y))
    return found or [(0.0, 0.0)]


def import_paths(store: Store) -> None:
    """The third view of every icon of every split, each number scaled by the training icons."""
    import material_design_icons_pack as pack

    views = {}
    for split in store.files.children("features/icons"):
        ids = store.samples("icons", split).item_ids
        views[split] = ids, np.array([path_statistics(" ".join(_paths(pack.get_icon(name).svg))) for name in ids])
    mean, spread = views["train"][1].mean(axis=0), views["train"][1].std(axis=0).clip(1e-6)
    with tempfile.TemporaryDirectory() as folder:
        for split, (ids, values) in views.items():
            file = Path(folder) / "paths.npz"
            np.savez(file, statistics=((values - mean) / spread).astype(np.float32), ids=np.array(ids))
            import_features(file, model="paths", modality="path", dataset="icons", split=split, store=store)


def _paths(svg: str) -> list[str]:
    return re.findall(r' d="([^"]*)"', svg)


def aligned(store: Store, method: str) -> dict[str, EvaluatedAligner]:
    """Image with name, path with name, and image with path."""
    sets = store.feature_sets(dataset="icons", split="train")
    there = {features.modality: features.manifest.encoder for features in sets}
    found = {}
    for name, (first, second) in PAIRS.items():
        named: dict[str, Any] = {"dataset": "icons", "split": "train", "vision": there[first], "text": there[second]}
        named |= {"name": f"{method}-{name}", "replace": True, **METHODS[method]}
        done = align("last", store=store, method=method, **named)
        found[name] = EvaluatedAligner.load(store, done.name, device="cpu")
    return found


def measured(store: Store, method: str) -> list[dict[str, Any]]:
    """Recall of every way, through the hub and, of the two that are no hub, direct."""
    context, subjects = RunContext.of(store, device="cpu"), aligned(store, method)
    hub = ModalityHub(context, [subjects["image"], subjects["path"]], "text")
    shares = hub.shares_head(hub.spokes["vision"], hub.spokes["path"])
    rows = []
    for origin, to in permutations(MODALITIES, 2):
        way = "pair" if "text" in (origin, to) else "one space" if shares else "bridge"
        rows.append({"way": way, **recall(hub, origin, to)})
    direct, ways = ModalityHub(context, [subjects["direct"]], "path"), (("vision", "path"), ("path", "vision"))
    rows += [{"way": "direct", **recall(direct, *way)} for way in ways]
    return [{"method": method, **row} for row in rows]


def temperatures(store: Store, method: str) -> list[dict[str, Any]]:
    """Recall over the val icons from image to path and back at several temperatures of the bridge."""
    subjects, rows = aligned(store, method), []
    for temperature in (0.02, 0.05, 0.1, 0.2, 0.4):
        hub = ModalityHub(RunContext.of(store, device="cpu"), [subjects["image"], subjects["path"]], "text")
        hub.temperature = temperature
        for origin, to in (("vision", "path"), ("path", "vision")):
            rows.append({"method": method, "temperature": temperature, **recall(hub, origin, to, split="val")})
    return rows


def recall(hub: ModalityHub, origin: str, to: str, *, split: str = "test") -> dict[str, Any]:
    """Recall@10 of every icon of a split, by its row of one modality among those of another."""
    choice = GalleryChoice(dataset="icons", split=split)
    target = hub.target(to, origin)
    source = hub.source(origin, target)
    ids = hub.context.store.samples("icons", split).item_ids
    queries = hub.carried(item_rows(hub.gallery(source, choice), ids), source, target)
    gallery = item_rows(hub.gallery(target, choice), ids)
    scores = queries @ gallery.T
    ranks = (scores > scores.diagonal()[:, None]).sum(axis=1)
    found = mean_interval((ranks < K).astype(float))
    numbers = {"recall@10": found.value, "low": found.low, "high": found.high}
    return {
        "from": origin,
        "to": to,
        **{k: round(v, 3) for k, v in numbers.items()},
        "n": found.n,
        "chance": K / len(ids),
    }


def main() -> None:
    store = open_store(sys.argv[1])
    import_paths(store)
    ask = temperatures if sys.argv[2:] == ["temperatures"] else measured
    for method in METHODS:
        for row in ask(store, method):
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
