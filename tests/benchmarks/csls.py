"""What CSLS scores change, as JSON lines: `python tests/benchmarks/csls.py STORE`.

STORE holds the icons with EfficientNet-Lite0 and MiniLM, as `auto.py` extracts them. Of each seed, 2,400 pairs train an
aligner and 1,000 others are searched among themselves: recall@1 and @10 both ways, by cosine and by CSLS, whose hubs
are measured with the training pairs' side of the queries. Queries of the test take no part in that. `among all`: the
same queries among the images of the training and the test, hubs measured with all captions but an image's own, as
`structure search --scores csls` does.
"""

from __future__ import annotations

import json
import sys

import numpy as np

from structure.pipeline.aligners.aligner_method import fit
from structure.pipeline.aligners.options import TrainingOptions, applicable
from structure.pipeline.similarity.knn.csls import csls_top_k, mean_nearest
from structure.pipeline.similarity.knn.top_k import GalleryArray, top_k
from structure.store import open_store

TRAIN, TEST, SEEDS = 2400, 1000, 3
KS = (1, 10)


def recalls(
    queries: np.ndarray, gallery: np.ndarray, references: np.ndarray, *, pairs: bool = False
) -> dict[str, list[float]]:
    """Recall at `KS` of queries whose own row has their number; with `pairs` so do the references of each row."""
    rows, own = GalleryArray(gallery), np.arange(len(queries))[:, None]
    numbers = np.arange(len(gallery))
    hubness = mean_nearest(rows, GalleryArray(references), samples=(numbers, numbers) if pairs else None)
    found = {"cosine": top_k(queries, rows, k=max(KS)), "csls": csls_top_k(queries, rows, hubness, k=max(KS))}
    return {name: [float((nearest.rows[:, :k] == own).any(1).mean()) for k in KS] for name, nearest in found.items()}


def main() -> None:
    store = open_store(sys.argv[1])
    sets = {features.modality: features for features in store.feature_sets(dataset="icons")}
    vision, text = sets["vision"].rows("block.13"), sets["text"].rows("block.05")
    for method in ("ridge", "csa", "kernel-csa"):
        for seed in range(SEEDS):
            order = np.random.default_rng(seed).permutation(len(vision))
            test, train = order[:TEST], order[TEST : TEST + TRAIN]
            options = TrainingOptions(**applicable({"method": method, "regulariser": "none", "seed": seed}))
            aligner = fit(vision[train].astype(np.float32), text[train].astype(np.float32), options=options).aligner
            images, texts = (
                [np.asarray(embed(side[part].astype(np.float32))) for part in (test, train)]
                for embed, side in ((aligner.embed_images, vision), (aligner.embed_texts, text))
            )
            for way, query, gallery in (("T→I", texts, images), ("I→T", images, texts)):
                line = {"measure": f"csls|{method} {way}", "seed": seed, "ks": KS}
                print(json.dumps(line | recalls(query[0], gallery[0], query[1]), ensure_ascii=False), flush=True)
            line = {"measure": f"csls|{method} T→I among all", "seed": seed, "ks": KS}
            every = recalls(texts[0], np.concatenate(images), np.concatenate(texts), pairs=True)
            print(json.dumps(line | every, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
