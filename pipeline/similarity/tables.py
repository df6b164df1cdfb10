"""Neighbour tables of many layers: each layer once, as independent tasks for threads or a dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from structure.pipeline.similarity.neighbours import MEMORY, Neighbours, search
from structure.pipeline.similarity.rows import RowSource

Compute = Callable[..., Sequence[Any]]
"""Runs delayed tasks and returns their values in order, as `dask.compute` does."""


def neighbour_tables(
    layers: Mapping[str, RowSource],
    *,
    k: int,
    memory: int = MEMORY,
    device: str | torch.device | None = None,
    compute: Compute | None = None,
) -> dict[str, Neighbours]:
    """`{layer: Neighbours}` for `(rows, width)` layers, one task a layer.

    Without `compute` layers run one after another, each using every core: matrix products do not gain from more. With
    it, tasks are `dask.delayed` and `compute(*tasks)` runs them: `dask.compute`, or `lambda *t:
    client.gather(client.compute(t))` of a `distributed.Client`; sources must then be picklable (a store's layer, a
    NumPy array). The tables are the same either way.
    """
    if compute is None:
        return {name: search(layer, k=k, memory=memory, device=device, name=name) for name, layer in layers.items()}
    from dask import delayed

    task = delayed(search, pure=False)
    tasks = [task(layer, k=k, memory=memory, device=device, name=name) for name, layer in layers.items()]
    return dict(zip(layers, compute(*tasks), strict=True))
