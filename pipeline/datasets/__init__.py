"""Datasets: ordered, countable sources of items with stable ids. `open_dataset(spec, ...)` finds one by its name."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from structure.pipeline.datasets.dataset import Dataset, Item, Task
from structure.pipeline.datasets.loading import open_dataset

if TYPE_CHECKING:
    from structure.pipeline.datasets.catalogue import list_datasets
    from structure.pipeline.datasets.webdataset_export import export_webdataset

__all__ = ["Dataset", "Item", "Task", "export_webdataset", "list_datasets", "open_dataset"]

_LAZY = {"list_datasets": "catalogue", "export_webdataset": "webdataset_export"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__} has no attribute {name}")
