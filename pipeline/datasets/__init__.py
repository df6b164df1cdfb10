"""Datasets: ordered, countable sources of items with stable ids. `open_dataset(spec, ...)` finds one by its name."""

from structure.pipeline.datasets.dataset import Dataset, Item, Task
from structure.pipeline.datasets.loading import open_dataset

__all__ = ["Dataset", "Item", "Task", "open_dataset"]
