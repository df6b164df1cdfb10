"""What CSLS scores change, as JSON lines and a table: `python -m tests.benchmarks.csls FOLDER [--seeds 5]`.

FOLDER holds the stores `icons`, `emoji` and `coco` as `auto.py` extracts and ranks them. A seed draws the pairs that
train an aligner on the first layers of the ranking, and others that are held out. Recall@10 by cosine and by CSLS:
captions held out find their image among the held-out images (T→I) and among all images, those of the training too (T→I
among all); images held out find their caption among the held-out captions (I→T). Hubs are measured with the training's
captions (I→T: images), a sample's own left out, as `structure search --scores csls` does; no query of the test is one
of them. Differences are paired over the seeds, with their 95 % t-interval.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from structure.pipeline.aligners.aligner_method import fit
from structure.pipeline.aligners.options import TrainingOptions, applicable
from structure.pipeline.model_selection.stored import layer_candidates
from structure.pipeline.pairing.pairs import choose_sets, pair_rows
from structure.pipeline.similarity.knn.csls import csls_top_k, mean_nearest
from structure.pipeline.similarity.knn.top_k import GalleryArray, top_k
from structure.store import open_store
from structure.store.joined_rows import layer_rows, loaded
from tests.benchmarks.auto import interval

SETS = {"icons": (2400, 1000), "emoji": (896, 249), "coco": (74, 19)}
"""Pairs of the training, and held out."""
METHODS = ("ridge", "csa", "kernel-csa")
K = 10


def recalls(queries: np.ndarray, gallery: np.ndarray, references: np.ndarray, *, own: bool = False) -> list[float]:
    """R@10 by cosine and by CSLS of queries that look for the row of their number. With `own` the last rows of the
    gallery are the references' samples, in their order."""
    rows, numbers = GalleryArray(gallery), np.arange(len(gallery))
    samples = (numbers, numbers[len(gallery) - len(references) :]) if own else None
    hubness = mean_nearest(rows, GalleryArray(references), samples=samples)
    found = top_k(queries, rows, k=K), csls_top_k(queries, rows, hubness, k=K)
    right = np.arange(len(queries))[:, None]
    return [float((nearest.rows == right).any(axis=1).mean()) for nearest in found]


def measured(store: str, name: str, method: str, seed: int) -> Iterator[tuple[str, list[float]]]:
    """Each way of looking with R@10 by cosine and by CSLS."""
    opened, (training, held_out) = open_store(store), SETS[name]
    sets = choose_sets(opened, dataset=None, split=None, vision=None, text=None)
    rows, layers = pair_rows(opened, *sets), layer_candidates(opened, sets, "auto", 1)[0]
    order = np.random.default_rng(seed).permutation(len(rows))
    test, train = order[:held_out], order[held_out : held_out + training]
    sides = [
        loaded(layer_rows(features, layer, numbers)).astype(np.float32)
        for features, layer, numbers in zip(sets, layers, (rows.vision, rows.text), strict=True)
    ]
    given = {"method": method, "regulariser": "none", "seed": seed, "device": "cpu", "dim": min(512, training * 3 // 8)}
    options = TrainingOptions(**applicable(given))
    aligner = fit(*(side[train] for side in sides), options=options).aligner
    heads = (aligner.embed_images, aligner.embed_texts)
    images, texts = (
        [np.asarray(embed(side[part])) for part in (test, train)] for embed, side in zip(heads, sides, strict=True)
    )
    yield "T→I", recalls(texts[0], images[0], texts[1])
    yield "I→T", recalls(images[0], texts[0], images[1])
    yield "T→I among all", recalls(texts[0], np.concatenate(images), texts[1], own=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    given = parser.parse_args()
    table = ["| set | method | queries | cosine | CSLS | CSLS - cosine |", "|---|---|---|---|---|---|"]
    for name in given.sets:
        for method in METHODS:
            found: dict[str, list[list[float]]] = {}
            for seed in range(given.seeds):
                for way, values in measured(str(given.folder / name), name, method, seed):
                    line = {"measure": f"csls|{name} {method} {way}", "seed": seed, "cosine": values[0]}
                    print(json.dumps(line | {"csls": values[1]}, ensure_ascii=False), flush=True)
                    found.setdefault(way, []).append(values)
            for way, values in found.items():
                cosine, csls = np.array(values).T
                means = f"{cosine.mean():.3f} | {csls.mean():.3f}"
                table.append(f"| {name} | `{method}` | {way} | {means} | {interval(csls - cosine)} |")
    print("\n".join(table))


if __name__ == "__main__":
    main()
