"""The forecast of `rank-layers` against what more pairs then gave, and what similarity says of recall.

    python tests/benchmarks/forecast.py --data ../shared/data --store /tmp/forecast [--only emoji,icons] [--seeds 5]
    python tests/benchmarks/forecast.py --data ../shared/data --store /tmp/forecast --table

Sets and encoders are those of auto.py. A forecast sees 300 pairs; it is compared with the mean of three fits (of 3,000
pairs: one) of the same closed form to 100, 300, 1,000 and 3,000 pairs (or all), on pairs that these leave, in galleries
as large as the forecast's. One JSON line for each set, seed and number of pairs says whether the interval holds.
`--table` writes configs/measured/similarity-recall.yaml: 12 layer pairs of each set, spread over their similarity.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

import numpy as np
import yaml

from structure.pipeline.aligners.aligner import Aligner
from structure.pipeline.aligners.methods.kernel_csa import KernelCsa, KernelCsaOptions
from structure.pipeline.aligners.training_data import TrainingData
from structure.pipeline.forecast.extrapolation import extrapolate
from structure.pipeline.forecast.forecast import PAIRS, forecast_of
from structure.pipeline.forecast.kernel_csa_recall import METHOD
from structure.pipeline.forecast.learning_curve import K as RETRIEVED
from structure.pipeline.model_selection.criterion import pair_values
from structure.pipeline.pairing.pairs import choose_sets, pair_rows
from structure.pipeline.recipe.spaced_pairs import layer_pair, spaced_pairs
from structure.pipeline.similarity.layer_similarity import newest_ranking
from structure.pipeline.similarity.score import mutual_knn
from structure.store import Rows, open_store
from tests.benchmarks.auto import prepare

SETS = ("emoji", "icons", "scenes")
NAMES = {"model": "all-MiniLM-L6-v2"}
"""Of encoders that are called after the folder they lie in."""
SEEN, FITS = 300, 3
TABLE = Path(__file__).parents[2] / "configs" / "measured" / "similarity-recall.yaml"
LAYER_PAIRS, ROWS, K, TRAINED, GALLERY, DRAWS = 12, 100, 9, 200, 100, 5
ABOUT = (
    "Mutual kNN of two layers (mean of random subsets) and recall@10 of kernel-csa on them, the mean of both directions"
)

Features = tuple[np.ndarray, np.ndarray]


class StoredSet:
    """The pairs of a set in the store, its ranking, and its layers read on demand."""

    def __init__(self, name: str, url: str) -> None:
        self.name, store = name, open_store(url)
        held = {features.manifest.dataset for features in store.feature_sets()}
        self.sets = choose_sets(store, dataset=name if name in held else None, split=None, vision=None, text=None)
        self.rows, self.ranking = pair_rows(store, *self.sets), newest_ranking(store, *self.sets)[1]

    def read(self, layers: tuple[str, str]) -> Features:
        """Both layers of all pairs, in an order that says nothing of the data."""
        order = np.random.default_rng(0).permutation(len(self.rows))
        numbers = self.rows.vision[order], self.rows.text[order]
        first, second = (np.asarray(Rows(*of)[:]) for of in zip(self.sets, layers, numbers, strict=True))
        return first, second


def recall(both: Features, training: np.ndarray, test: np.ndarray, *, gallery: int, seed: int) -> float:
    """Recall@10 of a fit to `training` in galleries of `gallery` of the pairs `test`, the mean of all."""
    vision, text = both
    options = KernelCsaOptions(method=METHOD, seed=seed, device="cpu")
    heads = KernelCsa().solve(TrainingData(vision[training], text[training]), options).heads
    fitted = Aligner(*heads, METHOD)
    parts = [test[at : at + gallery] for at in range(0, len(test) - gallery + 1, gallery)]
    return float(np.mean([pair_values(fitted, vision[p], text[p], select=f"R@{RETRIEVED}").mean() for p in parts]))


def compare(measured: StoredSet, seed: int) -> list[dict[str, Any]]:
    """A row for each number of pairs that the set has."""
    both = measured.read(layer_pair(measured.ranking))
    order = np.random.default_rng(seed).permutation(len(both[0]))
    seen, others = order[:SEEN], order[SEEN:]
    told = forecast_of(both[0][seen], both[1][seen], np.arange(SEEN), layers=layer_pair(measured.ranking), seed=seed)
    assert told.curve is not None
    gallery, rows = told.curve.gallery, []
    test = others[: min(4 * gallery, max(gallery, len(others) // 8))]
    rest = np.setdiff1d(order, test)  # of few pairs the fit may see those of the forecast again
    beyond = extrapolate(told.curve, [len(rest)] if len(rest) < PAIRS[2] else [])
    for point in (*told.points, *beyond):
        if point.pairs > len(rest):
            continue
        fits = FITS if point.pairs <= 1000 else 1
        draws = [np.random.default_rng(seed + draw).permutation(rest)[: point.pairs] for draw in range(fits)]
        reached = float(np.mean([recall(both, draw, test, gallery=gallery, seed=seed) for draw in draws]))
        rows.append(
            {
                "set": measured.name,
                "seed": seed,
                "gallery": gallery,
                "pairs": point.pairs,
                "measured": point.is_measured,
                **{key: round(getattr(point, key), 3) for key in ("value", "low", "high")},
                "reached": round(reached, 3),
                "inside": point.low <= reached <= point.high,
            }
        )
    return rows


def table_of(measured: StoredSet) -> dict[str, Any]:
    """Layer pairs of a set with their similarity and recall."""
    rows = []
    for layers in spaced_pairs(measured.ranking, LAYER_PAIRS):
        both = measured.read(layers)
        subsets = [np.random.default_rng(draw).permutation(len(both[0])) for draw in range(DRAWS)]
        similarity = np.mean([mutual_knn(both[0][s[:ROWS]], both[1][s[:ROWS]], k=K) for s in subsets])
        reached = [
            recall(both, s[:TRAINED], s[TRAINED : TRAINED + 4 * GALLERY], gallery=GALLERY, seed=draw)
            for draw, s in enumerate(subsets)
        ]
        pair = {"vision": layers[0], "text": layers[1]}
        rows.append({**pair, "similarity": round(float(similarity), 4), "recall": round(float(np.mean(reached)), 4)})
    ranks = [np.argsort(np.argsort([row[key] for row in rows])) for key in ("similarity", "recall")]
    vision, text = (features.manifest.encoder for features in measured.sets)
    head = {"name": measured.name, "vision": vision, "text": NAMES.get(text, text)}
    return {**head, "rank_correlation": round(float(np.corrcoef(*ranks)[0, 1]), 3), "layers": rows}


def main() -> None:
    """Print one JSON line for each comparison; with --table write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--only", default=",".join(SETS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    measured = [StoredSet(name, prepare(name, given.data, given.store)) for name in given.only.split(",")]
    if given.table:
        head = {"rows": ROWS, "k": K, "pairs": TRAINED, "gallery": GALLERY}
        command = "python tests/benchmarks/forecast.py --data ../shared/data --store /tmp/forecast --table"
        document = {"about": ABOUT, "command": command, **head, "sets": [table_of(each) for each in measured]}
        TABLE.write_text(yaml.safe_dump(document, sort_keys=False, width=120, default_flow_style=None))
        return
    for each in measured:
        for seed in range(given.seeds):
            for row in compare(each, seed):
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
