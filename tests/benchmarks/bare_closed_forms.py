"""Ridge and Procrustes as one writes them down over the shards of a store: what `methods_at_scale.py` compares with.

    python tests/benchmarks/bare_closed_forms.py STORE ridge|procrustes

The arrays are read by zarr, 8,192 rows at a time; means and products are float64; the map that follows is printed as
its norm. Nothing of the product is imported.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
import zarr

CHUNK = 8192
NEEDED = {"ridge": ("xx", "xy"), "procrustes": ("xy",)}


def column(store: Path, model: str) -> zarr.Array:
    """The one layer of the imported features of a model."""
    found = zarr.open_array(store / "features" / "d" / "train" / model / "features", mode="r")
    assert isinstance(found, zarr.Array)
    return found


def fit(store: Path, method: str) -> torch.Tensor:
    """Means and products chunk by chunk, and the map that follows from them."""
    sides = {"x": column(store, "vision"), "y": column(store, "text")}
    rows, width = sides["x"].shape
    sums = {name: torch.zeros(width, dtype=torch.float64) for name in sides}
    total = {name: torch.zeros(width, width, dtype=torch.float64) for name in NEEDED[method]}
    for start in range(0, rows, CHUNK):
        part = {
            name: torch.from_numpy(np.asarray(side[start : start + CHUNK])).double() for name, side in sides.items()
        }
        for name, values in part.items():
            sums[name] += values.sum(dim=0)
        for name, product in total.items():
            product += part[name[0]].T @ part[name[1]]
    centred = {name: made / rows - torch.outer(sums[name[0]], sums[name[1]]) / rows**2 for name, made in total.items()}
    if method == "procrustes":
        return torch.linalg.svd(centred["xy"])[0]
    share = 0.1 * centred["xx"].diagonal().mean() * torch.eye(width, dtype=torch.float64)
    return torch.linalg.solve(centred["xx"] + share, centred["xy"])


if __name__ == "__main__":
    print(float(fit(Path(sys.argv[1]), sys.argv[2]).norm()))
