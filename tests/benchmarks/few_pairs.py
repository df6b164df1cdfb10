"""Methods of few pairs and none beside those of pairs alone, over the number of pairs, on held-out pairs.

    python tests/benchmarks/few_pairs.py --store /tmp/auto --out few-pairs.jsonl [--only emoji,icons,scenes] [--seeds 5]
    python tests/benchmarks/few_pairs.py --out few-pairs.jsonl --table --figure docs/few-pairs.png

Stores are those of auto.py, at the first layer pair of their ranking. A seed draws the test pairs (emoji 249, icons
1,438, scenes 500), then nested subsets of the others; what a subset leaves is unpaired, images from one half of it and
texts from the other. Each fit is a JSON line, written when it is done; a run that was stopped goes on. `--table` makes
Markdown of them: means over seeds with the 95 % interval, for each set and metric, and
paired differences over the seeds; `--figure` the figure of R@10.
"""

from __future__ import annotations

import argparse
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

import numpy as np
from PIL import Image

from structure.pipeline.aligners.unpaired import Unpaired
from structure.pipeline.charts import panels, png
from structure.pipeline.metrics.intervals import seeds_interval
from structure.pipeline.model_selection.stored import layer_candidates
from structure.pipeline.pair_curves.curve import PairCurve
from structure.pipeline.pair_curves.fits import METRICS, CurveFit, chance
from structure.pipeline.pair_curves.measuring import Measuring
from structure.pipeline.pair_curves.variants import CurveVariant
from structure.pipeline.pairing.pairs import choose_sets, pair_rows
from structure.store import open_store
from structure.store.joined_rows import layer_rows, loaded

SIZES = {
    "emoji": (0, 1, 5, 10, 20, 50, 100, 300, 896),
    "icons": (0, 1, 5, 10, 20, 50, 100, 300, 1000, 5750),
    "scenes": (0, 1, 5, 10, 20, 50, 100, 300, 1000, 2000),
}
SEEDS = 5
FIRST = (0, 10, 100, 896, 1000)
"""Sizes that are measured before the others, for every seed."""
HELD_OUT = {"emoji": 249, "icons": 1438, "scenes": 500}
METHODS = (
    CurveVariant("ridge"),
    CurveVariant("procrustes"),
    CurveVariant("kernel-csa"),
    CurveVariant("linear"),
    CurveVariant("linear", structure=True),
    CurveVariant("sotalign"),
    CurveVariant("wasserstein-procrustes"),
    CurveVariant("mini-vec2vec"),
)
COMPARED = (
    ("sotalign", "kernel-csa"),
    ("sotalign", "ridge"),
    ("wasserstein-procrustes", "procrustes"),
    ("linear + R_S", "linear"),
)
LEAST_REST = 60
"""Items that a subset must leave, for unpaired rows to be matched."""


class Data:
    """Both layers of a set, in memory, and what a seed draws of them."""

    def __init__(self, name: str, folder: Path) -> None:
        opened = open_store(folder / name)
        held = {features.manifest.dataset for features in opened.feature_sets()}
        sets = choose_sets(opened, dataset=name if name in held else None, split=None, vision=None, text=None)
        rows = pair_rows(opened, *sets)
        self.name, self.layers = name, layer_candidates(opened, sets, "auto", 1)[0]
        self.vision, self.text = (
            np.asarray(loaded(layer_rows(features, layer, numbers)), dtype=np.float32)
            for features, layer, numbers in zip(sets, self.layers, (rows.vision, rows.text), strict=True)
        )

    def draw(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """(the order of the pairs to train on, test pairs)."""
        order = np.random.default_rng(seed).permutation(len(self.vision))
        return order[HELD_OUT[self.name] :], order[: HELD_OUT[self.name]]


def cells(data: Data) -> Iterator[tuple[int, CurveVariant]]:
    """(pairs, variant) of every fit of a seed."""
    training = len(data.vision) - HELD_OUT[data.name]
    for pairs in SIZES[data.name]:
        for variant in METHODS:
            use = variant.use_of_unpaired
            rest = training - pairs
            if (use == "unused" or rest >= LEAST_REST) and (variant.reads_pairs or not pairs):
                yield min(pairs, training), variant


def measure(data: Data, seed: int, pairs: int, variant: CurveVariant) -> CurveFit:
    """One fit."""
    training, test = data.draw(seed)
    rest = training[pairs:]
    half = len(rest) // 2
    measuring = Measuring(
        (data.vision[training], data.text[training]), (data.vision[test], data.text[test]), device="cpu"
    )
    unpaired = Unpaired(data.vision[rest[:half]], data.text[rest[half:]])
    return measuring.fit(variant, np.arange(pairs), unpaired, seed=seed)


def run(names: Sequence[str], folder: Path, out: Path, seeds: int) -> None:
    """Measure what is not in `out` yet: the `FIRST` sizes of all seeds before the others, the largest one last."""
    lines = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    there = {(line["set"], line["variant"], line["pairs"], line["seed"]) for line in lines}
    sets = [Data(name, folder) for name in names]
    todo = [(seed, data, *cell) for seed in range(1, seeds + 1) for data in sets for cell in cells(data)]
    for seed, data, pairs, variant in sorted(todo, key=lambda each: (each[2] == 5750, each[2] not in FIRST)):
        if (data.name, variant.label, pairs, seed) in there:
            continue
        line = {"set": data.name, **measure(data, seed, pairs, variant).to_dict()}
        with open(out, "a") as file:
            file.write(json.dumps(line) + "\n")


def curves(lines: Sequence[Mapping[str, Any]]) -> dict[str, PairCurve]:
    """The curve of each set; its ceiling is the best of the fits to most pairs."""
    found = {}
    for name in [name for name in SIZES if any(line["set"] == name for line in lines)]:
        own = [{key: value for key, value in line.items() if key != "set"} for line in lines if line["set"] == name]
        facts = {"dataset": name, "training_pairs": max(SIZES[name]), "test_pairs": HELD_OUT[name]}
        found[name] = PairCurve(facts, "", tuple(CurveFit.of_dict(each) for each in own))
    return found


def tables(lines: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a table for each set and metric, a row for each number of pairs; half the 95 % interval beside."""
    labels, parts = [each.label for each in METHODS], []
    for name, curve in curves(lines).items():
        for metric in METRICS:
            rows = {(row["pairs"], row["variant"]): row for row in curve.means(metric)}
            head = f"{name}, {metric} (chance {chance(metric, HELD_OUT[name]):.3f})"
            table = [f"| {head} | {' | '.join(labels)} |", "|---" * (len(labels) + 1) + "|"]
            for pairs in SIZES[name]:
                cells = " | ".join(_cell(rows.get((pairs, label))) for label in labels)
                table.append(f"| {pairs:,} | {cells} |")
            parts.append("\n".join(table))
    return "\n\n".join(parts)


def _cell(row: Mapping[str, Any] | None) -> str:
    """Mean and half the interval over seeds, and how many seeds where not all; "-" where there is none."""
    if row is None or row["value"] is None:
        return "-"
    seeds = "" if row["seeds"] == SEEDS else f" ({row['seeds']})"
    return f"{row['value']:.3f} ±{(row['high'] - row['low']) / 2:.3f}{seeds}"


def differences(lines: Sequence[Mapping[str, Any]], metric: str) -> str:
    """Markdown: what one method has more than another with the same pairs, unpaired rows and test, seed by seed."""
    found = {
        (line["set"], line["pairs"], line["variant"], line["seed"]): line["metrics"][metric]["value"]
        for line in lines
        if not line["refused"]
    }
    seeds = sorted({seed for *_, seed in found})
    heads = [(name, pairs) for name in SIZES for pairs in SIZES[name] if pairs in FIRST[1:]]
    rows = [
        f"| {metric} | {' | '.join(f'{name}, {pairs:,}' for name, pairs in heads)} |",
        "|---" * (len(heads) + 1) + "|",
    ]
    for first, second in COMPARED:
        cells = []
        for head in heads:
            both = [seed for seed in seeds if {(*head, first, seed), (*head, second, seed)} <= found.keys()]
            if len(both) < SEEDS:
                cells.append("-")
                continue
            one, other = (np.array([found[*head, each, seed] for seed in both]) for each in (first, second))
            got = seeds_interval(one, other)
            cells.append(f"{got.value:+.3f} ±{(got.high - got.low) / 2:.3f}")
        rows.append(f"| {first} - {second} | {' | '.join(cells)} |")
    return "\n".join(rows)


def figure(lines: Sequence[Mapping[str, Any]], metric: str) -> bytes:
    """A panel for each set, as PNG of few colours."""
    drawn = [(f"{name}, {curve.test_pairs:,} test pairs", curve.spec(metric)) for name, curve in curves(lines).items()]
    small = io.BytesIO()
    Image.open(io.BytesIO(png(panels(drawn, columns=1, width=640)))).convert("RGB").quantize(64).save(small, "PNG")
    return small.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default=",".join(SIZES))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--figure", type=Path)
    given = parser.parse_args()
    if given.store is not None:
        run(given.only.split(","), given.store, given.out, given.seeds)
    lines = [json.loads(line) for line in given.out.read_text().splitlines()]
    if given.table:
        print(tables(lines), differences(lines, "R@10"), sep="\n\n")
    if given.figure is not None:
        given.figure.write_bytes(figure(lines, "R@10"))


if __name__ == "__main__":
    main()
