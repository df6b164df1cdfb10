"""Neighbour tables of many layers: several at once on this machine, or tasks of some rows each for a dask scheduler."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from structure.pipeline.device import cores, side_by_side
from structure.pipeline.similarity.knn.neighbours import MEMORY, Neighbours, joined, search, search_part
from structure.pipeline.similarity.knn.search_plan import TILE_BYTES
from structure.pipeline.similarity.knn.search_size import held_bytes
from structure.pipeline.similarity.knn.unit_rows import RowSlices

Compute = Callable[..., Sequence[Any]]
"""Runs delayed tasks and returns their values in order, as `dask.compute` does."""

TASK_ROWS = 8192
"""Rows of a task: a large layer spreads over workers, a small one is not cut."""


def neighbour_tables(
    layers: Mapping[str, RowSlices],
    *,
    k: int,
    memory: int = MEMORY,
    device: str | torch.device | None = None,
    compute: Compute | None = None,
    task_rows: int = TASK_ROWS,
    on_table: Callable[[str, Neighbours], None] = lambda name, table: None,
) -> dict[str, Neighbours]:
    """`{layer: Neighbours}` for `(rows, width)` layers; `on_table` is told each as soon as it is there, in order.

    Without `compute` as many layers are searched side by side as there are cores and `memory` bytes for, one core
    each. Layers too large for that, those of a last round that leaves cores idle, and an accelerator, take turns, on
    all cores. With it, every `task_rows` rows of a layer are a `dask.delayed` task that finds their neighbours among
    all rows within `memory` bytes, and `compute(*tasks)` runs them: `dask.compute`, or `lambda *t:
    client.gather(client.compute(t))` of a `distributed.Client`; sources must then be picklable (a store's layer, a
    NumPy array). The tables are the same in every way.
    """
    tables: dict[str, Neighbours] = {}
    for name, table in (
        _here(layers, k, memory, device)
        if compute is None
        else _elsewhere(layers, k, memory, device, compute, task_rows)
    ):
        tables[name] = table
        on_table(name, table)
    return tables


def searches_at_once(layers: Mapping[str, RowSlices], memory: int) -> int:
    """How many searches run at once: each holds its rows four times over as float32, and tiles of products."""
    most = max((held_bytes(int(layer.shape[0]), int(layer.shape[1])) for layer in layers.values()), default=0)
    return at_once(len(layers), most, memory)


def at_once(count: int, held: int, memory: int) -> int:
    """How many of `count` searches run at once, where each holds `held` bytes and tiles of products."""
    return max(1, min(cores(), count, memory // (held + 4 * TILE_BYTES)))


def _here(
    layers: Mapping[str, RowSlices], k: int, memory: int, device: str | torch.device | None
) -> Iterator[tuple[str, Neighbours]]:
    on_cpu = device is None or torch.device(device).type == "cpu"
    count = searches_at_once(layers, memory) if on_cpu else 1

    even = len(layers) - len(layers) % count if count > 1 else 0

    def run(name: str, of: int = count) -> Neighbours:
        return search(layers[name], k=k, memory=memory // of, device=device, name=name)

    names = list(layers)
    yield from zip(names[:even], side_by_side(run, names[:even], at_once=count), strict=True)
    for name in names[even:]:
        yield name, run(name, of=1)


def _elsewhere(
    layers: Mapping[str, RowSlices],
    k: int,
    memory: int,
    device: str | torch.device | None,
    compute: Compute,
    task_rows: int,
) -> Iterator[tuple[str, Neighbours]]:
    from dask import delayed

    task = delayed(search_part, pure=False)
    cuts = {name: range(0, max(int(layer.shape[0]), 1), task_rows) for name, layer in layers.items()}
    tasks = [
        task(layers[name], k=k, start=start, stop=start + task_rows, memory=memory, device=device, name=name)
        for name, cut in cuts.items()
        for start in cut
    ]
    parts = iter(compute(*tasks))
    for name, cut in cuts.items():
        yield name, joined([next(parts) for _ in cut], k=k)
