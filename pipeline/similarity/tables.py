"""Neighbour tables of many layers as independent tasks for a dask scheduler, each some rows of a layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from structure.pipeline.similarity.neighbours import MEMORY, Neighbours, joined, search, search_part
from structure.pipeline.similarity.rows import RowSource

Compute = Callable[..., Sequence[Any]]
"""Runs delayed tasks and returns their values in order, as `dask.compute` does."""

TASK_ROWS = 8192
"""Rows of a task: a large layer spreads over workers, a small one is not cut."""


def neighbour_tables(
    layers: Mapping[str, RowSource],
    *,
    k: int,
    memory: int = MEMORY,
    device: str | torch.device | None = None,
    compute: Compute | None = None,
    task_rows: int = TASK_ROWS,
) -> dict[str, Neighbours]:
    """`{layer: Neighbours}` for `(rows, width)` layers.

    Without `compute` layers run one after another, each using every core: matrix products do not gain from more. With
    it, every `task_rows` rows of a layer are a `dask.delayed` task that finds their neighbours among all rows within
    `memory` bytes, and `compute(*tasks)` runs them: `dask.compute`, or `lambda *t: client.gather(client.compute(t))` of
    a `distributed.Client`; sources must then be picklable (a store's layer, a NumPy array). The tables are the same
    either way.
    """
    if compute is None:
        return {name: search(layer, k=k, memory=memory, device=device, name=name) for name, layer in layers.items()}
    from dask import delayed

    task = delayed(search_part, pure=False)
    cuts = {name: range(0, max(int(layer.shape[0]), 1), task_rows) for name, layer in layers.items()}
    tasks = [
        task(layers[name], k=k, start=start, stop=start + task_rows, memory=memory, device=device, name=name)
        for name, cut in cuts.items()
        for start in cut
    ]
    parts = iter(compute(*tasks))
    return {name: joined([next(parts) for _ in cut], k=k) for name, cut in cuts.items()}
