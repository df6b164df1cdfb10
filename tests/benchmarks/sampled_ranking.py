"""What a ranking of a sample of rows says of the ranking of all: mutual kNN by 5,000 of 100,000 rows against all rows.

    OMP_NUM_THREADS=1 python tests/benchmarks/sampled_ranking.py [--work /tmp/scale] [--rows 100000] [--draws 20]

The features have layered signal: 24 shared factors and 24 of each modality's own; layer l of a model sees the shared
ones at a strength that rises with depth and falls at the end, in 64 mixed dimensions with noise. Both rankings choose k
by the Rice rule. Neighbour tables of all rows are kept in the work folder, so that a run that was stopped goes on.
Prints one JSON line, and writes it to sampled.json in the work folder, from where scale.py takes it into its table.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from structure.pipeline.ranking.options import RankingOptions
from structure.pipeline.similarity.k_rules import k_of
from structure.pipeline.similarity.knn.neighbours import neighbours
from structure.pipeline.similarity.neighbour_overlap import shared_totals
from structure.pipeline.similarity.score import layer_similarity

STRENGTHS = {"vision": (0.3, 0.7, 1.0, 1.05, 0.8), "text": (0.4, 0.9, 1.0, 0.7)}
FACTORS, WIDTH, NOISE = 24, 64, 0.4


def layers(rows: int) -> dict[str, list[np.ndarray]]:
    """Layers of both models, (rows, WIDTH) float16."""
    random = np.random.default_rng(0)
    shared = random.standard_normal((rows, FACTORS), dtype=np.float32)
    made: dict[str, list[np.ndarray]] = {}
    for modality, strengths in STRENGTHS.items():
        own = random.standard_normal((rows, FACTORS), dtype=np.float32)
        made[modality] = []
        for strength in strengths:
            mix = random.standard_normal((2 * FACTORS, WIDTH), dtype=np.float32) / np.sqrt(2 * FACTORS)
            seen = np.concatenate([strength * shared, (1.4 - strength) * own], axis=1)
            noise = NOISE * random.standard_normal((rows, WIDTH), dtype=np.float32)
            made[modality].append((seen @ mix + noise).astype(np.float16))
    return made


def all_rows(made: dict[str, list[np.ndarray]], work: Path, *, k: int) -> np.ndarray:
    """Scores (vision layers, text layers) by all rows."""
    tables: dict[str, list[np.ndarray]] = {}
    for modality, values in made.items():
        tables[modality] = []
        for number, layer in enumerate(values):
            path = work / f"sampled-{modality}-{number}-{len(layer)}-{k}.npy"
            if not path.exists():
                np.save(path, neighbours(layer, k=k))
            tables[modality].append(np.load(path))
    rows = len(made["vision"][0])
    return shared_totals(np.stack(tables["vision"]), np.stack(tables["text"])) / (rows * k)


def ranks(values: np.ndarray) -> np.ndarray:
    return np.argsort(np.argsort(values.ravel()))


def main() -> None:
    """Print the comparison as one JSON line, and save it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("/tmp/scale"))
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--draws", type=int, default=20)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    usual = RankingOptions()
    samples, rule = usual.most_rows or 5000, usual.rule
    made = layers(given.rows)
    whole = all_rows(made, given.work, k=k_of(rule, given.rows))
    draws = []
    for seed in range(given.draws):
        rows = np.sort(np.random.default_rng(seed).choice(given.rows, samples, replace=False))
        drawn = {modality: [layer[rows] for layer in values] for modality, values in made.items()}
        draws.append(layer_similarity(drawn["vision"], drawn["text"], k=rule))
    scores, best = np.stack(draws), int(whole.argmax())
    chosen = scores.reshape(given.draws, -1).argmax(axis=1)
    first, second = np.sort(whole.ravel())[::-1][:2]
    document = {
        "rows": given.rows,
        "samples": samples,
        "draws": given.draws,
        "layer_pairs": whole.size,
        "k": k_of(rule, samples),
        "k_of_all": k_of(rule, given.rows),
        "standard_error": round(float(scores.std(axis=0, ddof=1).max()), 5),
        "rank_correlation": round(float(np.mean([np.corrcoef(ranks(each), ranks(whole))[0, 1] for each in scores])), 4),
        "same_best": int((chosen == best).sum()),
        "regret": round(float((first - whole.ravel()[chosen]).max()), 5),
        "gap": round(float(first - second), 5),
    }
    (given.work / "sampled.json").write_text(json.dumps(document))
    print(json.dumps({"measure": "sampled ranking", **document}), flush=True)


if __name__ == "__main__":
    main()
