"""The kinds of datasets by the word that their names begin with."""

from __future__ import annotations

from collections.abc import Mapping

from structure.pipeline.datasets.catalogue import published_names
from structure.pipeline.datasets.kind import DatasetKind
from structure.pipeline.registry import Registry

_HERE = "structure.pipeline.datasets"


def _homes() -> Mapping[str, str]:
    return {
        "scenes": f"{_HERE}.scenes:ScenesKind",
        "icons": f"{_HERE}.icons:IconsKind",
        "pairs": f"{_HERE}.pairs:PairsKind",
        "folder": f"{_HERE}.folder:FolderKind",
        "images": f"{_HERE}.images:ImagesKind",
        "sidecar": f"{_HERE}.sidecar:SidecarKind",
        "masks": f"{_HERE}.masks:MasksKind",
        "wds": f"{_HERE}.webdataset:WebdatasetKind",
        "hf": f"{_HERE}.hub:HubKind",
        "clotho": f"{_HERE}.clotho:ClothoKind",
        "coco": f"{_HERE}.coco:CocoKind",
        "flickr30k": f"{_HERE}.flickr:FlickrKind",
        "flickr8k": f"{_HERE}.flickr:FlickrKind",
        # Sets that share a reader: one entry of configs/datasets.yaml each.
        **dict.fromkeys(published_names("raw"), f"{_HERE}.published_classification:RawKind"),
        **dict.fromkeys(published_names("segmentation"), f"{_HERE}.segmentation_folders:SegmentationKind"),
        "clip-benchmark": f"{_HERE}.benchmark_copy:BenchmarkCopyKind",
    }


DATASET_KINDS: Registry[type[DatasetKind]] = Registry("dataset", "structure.datasets", _homes)
