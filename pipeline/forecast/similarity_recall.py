"""What the similarity of two layers says of the recall that they reach: our own sets, and a line through them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from structure.pipeline.device import one_thread
from structure.pipeline.forecast.learning_curve import K
from structure.pipeline.similarity.score import mutual_knn
from structure.pipeline.yaml_file import load_yaml
from structure.pipeline.yaml_record import read_record
from structure.store.errors import StructureError

TABLE, FOLDER = "similarity-recall", "measured"

SUBSETS = 5
"""Random subsets over which a similarity is averaged."""


@dataclass(frozen=True)
class MeasuredPair:
    """A layer pair of a set: mutual kNN and recall@10, as the table's head says."""

    vision: str
    text: str
    similarity: float
    recall: float


@dataclass(frozen=True)
class MeasuredSet:
    """Layer pairs of two encoders on one set, and the rank correlation of similarity and recall over them."""

    name: str
    vision: str
    text: str
    rank_correlation: float
    layers: tuple[MeasuredPair, ...]


@dataclass(frozen=True)
class SimilarityTable:
    """Similarities among `rows` samples with `k` neighbours; recall@10 with `pairs` training pairs of a closed form,
    among `gallery` held-out ones, both directions. `command` makes the file again."""

    about: str
    command: str
    rows: int
    k: int
    pairs: int
    gallery: int
    sets: tuple[MeasuredSet, ...]

    def predict(self, similarity: float) -> Prediction:
        """Recall where the similarity is this, by a straight line through the log odds of all layer pairs. The interval
        is two root-mean-square errors of lines that did not see the set they are tried on."""
        points = [(pair.similarity, _logit(pair.recall)) for each in self.sets for pair in each.layers]
        slope, base = _line(points)
        errors = []
        for left_out in self.sets:
            others = [each for each in self.sets if each is not left_out]
            b, a = _line([(pair.similarity, _logit(pair.recall)) for each in others for pair in each.layers])
            errors += [_logit(pair.recall) - a - b * pair.similarity for pair in left_out.layers]
        centre, error = base + slope * similarity, 2 * float(np.sqrt(np.mean(np.square(errors))))
        value, low, high = (float(1 / (1 + np.exp(-logit))) for logit in (centre, centre - error, centre + error))
        return Prediction(similarity, value, low, high, self)


@dataclass(frozen=True)
class Prediction:
    """Recall that a similarity goes with, and the table that says so."""

    similarity: float
    value: float
    low: float
    high: float
    table: SimilarityTable

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        table = self.table
        return {
            "mutual_knn": self.similarity,
            "rows": table.rows,
            "k": table.k,
            "recall": self.value,
            "low": self.low,
            "high": self.high,
            "pairs": table.pairs,
            "gallery": table.gallery,
            "sets": len(table.sets),
            "layer_pairs": sum(len(each.layers) for each in table.sets),
            "rank_correlations": {each.name: each.rank_correlation for each in table.sets},
        }

    def sentence(self) -> str:
        """It in words, with how weak it is."""
        table, count = self.table, len(self.table.sets)
        pairs = sum(len(each.layers) for each in table.sets)
        within = sorted(each.rank_correlation for each in table.sets)
        return (
            f"What the ranking predicts: in each of {count} sets of ours ({pairs} layer pairs) similarity orders layer "
            f"pairs by their recall (rank correlation {within[0]:.2f} to {within[-1]:.2f}). Between sets it says "
            f"little: mutual kNN@{table.k} of {self.similarity:.2f} among {table.rows} rows, as here, goes with "
            f"recall@{K} of {self.value:.2f} [{self.low:.2f}, {self.high:.2f}] for {table.pairs} pairs, among "
            f"{table.gallery}. {count} sets are few."
        )


@cache
def similarity_table() -> SimilarityTable:
    """The table in the package."""
    return read_record(load_yaml("table", TABLE, folder=FOLDER), (), SimilarityTable, noun="table")


def subset_similarity(vision: np.ndarray, text: np.ndarray, *, seed: int) -> float | None:
    """Mutual kNN of features (n, dv) and (n, dt) as the table has it; None for fewer rows than it takes."""
    table = similarity_table()
    if len(vision) < table.rows:
        return None
    random = np.random.default_rng(seed)
    subsets = [random.permutation(len(vision))[: table.rows] for _ in range(SUBSETS)]
    try:
        with one_thread():  # the searches are small
            return float(np.mean([mutual_knn(vision[rows], text[rows], k=table.k) for rows in subsets]))
    except StructureError:  # rows of a subset that all point one way have no neighbours
        return None


def _logit(recall: float) -> float:
    return float(np.log(recall / (1 - recall)))


def _line(points: list[tuple[float, float]]) -> tuple[float, float]:
    """(slope, value at 0) of the least-squares line."""
    x, y = np.array(points).T
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / np.square(x - x.mean()).sum())
    return slope, float(y.mean() - slope * x.mean())
