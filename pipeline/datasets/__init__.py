"""Datasets: ordered, countable sources of samples with stable ids. `open_dataset(spec, ...)` finds one by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from structure.pipeline.datasets.dataset import Dataset, Item, Task
from structure.pipeline.datasets.loading import get_dataset, list_datasets, open_dataset

if TYPE_CHECKING:
    from structure.pipeline.datasets.webdataset_export import export_webdataset

__all__ = ["Dataset", "Item", "Task", "export_webdataset", "get_dataset", "list_datasets", "open_dataset"]


def __getattr__(name: str) -> Any:
    if name == "export_webdataset":
        from structure.pipeline.datasets.webdataset_export import export_webdataset

        return export_webdataset
    raise AttributeError(f"module {__name__} has no attribute {name}")
