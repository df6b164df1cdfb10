"""From a dataset's name to the dataset: `open_dataset("pairs:my/pairs.jsonl", data_root="data")`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal

from structure.pipeline.datasets.dataset import Dataset
from structure.store.errors import StructureError, unknown

Opener = Callable[..., Dataset]
"""`opener(argument, *, split, data_root, seed)`; `argument` is what follows the colon, "" for nothing; of a kind that
takes nothing it is the kind's own name."""


@dataclass(frozen=True)
class Kind:
    """`opener` as "module:function" (imported when used), whether something follows the colon, and an example."""

    opener: str
    argument: Literal["none", "optional", "required"]
    form: str


_HERE = "structure.pipeline.datasets"
RAW = (
    "cifar10",
    "cifar100",
    "dtd",
    "eurosat",
    "flowers102",
    "food101",
    "imagenet",
    "mnist",
    "pets",
    "stl10",
    "svhn",
    "ucf101",
)
"""Published classification sets that are read from their own folders."""

MASKED = ("ade20k", "coco-stuff", "context59", "voc20")
"""The same of segmentation sets."""
KINDS: dict[str, Kind] = {
    "clotho": Kind(f"{_HERE}.clotho:open_clotho", "none", "clotho"),
    "coco": Kind(f"{_HERE}.coco:open_coco", "none", "coco"),
    "flickr30k": Kind(f"{_HERE}.flickr:open_flickr30k", "none", "flickr30k"),
    "flickr8k": Kind(f"{_HERE}.flickr:open_flickr8k", "none", "flickr8k"),
    **{name: Kind(f"{_HERE}.raw:open_raw", "none", name) for name in RAW},
    **{name: Kind(f"{_HERE}.segmentation_folders:open_segmentation", "none", name) for name in MASKED},
    "scenes": Kind(f"{_HERE}.loading:open_scenes", "optional", "scenes or scenes:1000"),
    "pairs": Kind(f"{_HERE}.pairs:open_pairs", "required", "pairs:FILE.jsonl"),
    "folder": Kind(f"{_HERE}.folder:open_folder", "required", "folder:DIR"),
    "sidecar": Kind(f"{_HERE}.sidecar:open_sidecar", "required", "sidecar:DIR"),
    "masks": Kind(f"{_HERE}.masks:open_masks", "required", "masks:DIR"),
    "clip-benchmark": Kind(f"{_HERE}.benchmark_copy:open_copy", "required", "clip-benchmark:wds/vtab/cifar10"),
    "wds": Kind(f"{_HERE}.webdataset:open_wds", "required", "'wds:shards/{000..012}.tar'"),
    "hf": Kind(f"{_HERE}.hub:open_hub", "required", "hf:NAME"),
}


def open_dataset(spec: str, *, split: str | None = None, data_root: str | Path, seed: int = 0) -> Dataset:
    """The dataset that `spec` names: `clotho`, `coco`, `flickr30k`, `flickr8k`, those of `RAW` and `MASKED`,
    `scenes[:N]`, `pairs:FILE`, `folder:DIR`, `sidecar:DIR`, `masks:DIR`, `clip-benchmark:NAME`, `wds:PATTERN`,
    `hf:NAME`.

    Paths are looked for from the current folder, then from `data_root`. `split=None` is each kind's own default.
    `seed` draws the splits of data that bring none, and the scenes.
    Raises `NotPresentError` at once (no network is asked, but for `hf:`) where the data are not here, and
    `StructureError` for an unknown name or split (the nearest are offered) and for data that cannot be used.
    """
    name, colon, argument = spec.partition(":")
    kind = KINDS.get(name)
    if kind is None:
        raise unknown("dataset", spec, KINDS, hint=meant(spec))
    if kind.argument == "required" and not argument:
        raise StructureError(f"Dataset {spec!r} names no data. Type {kind.form}.")
    if kind.argument == "none" and colon:
        raise StructureError(
            f"Dataset {spec!r}: {name} takes nothing after a colon. Type {kind.form}; --data-root says where."
        )
    module, _, function = kind.opener.partition(":")
    opener: Opener = getattr(import_module(module), function)
    return opener(name if kind.argument == "none" else argument, split=split, data_root=Path(data_root), seed=seed)


def open_scenes(argument: str, *, split: str | None, data_root: Path, seed: int) -> Dataset:
    """`scenes` or `scenes:N`, the generated set; default split `train`."""
    from structure.pipeline.datasets.scenes import Scenes

    if argument and not re.fullmatch(r"[0-9]{1,9}", argument):
        raise StructureError(f"Dataset 'scenes:{argument}': N is a whole number of scenes. Type scenes:1000.")
    return Scenes(split=split or "train", count=int(argument) if argument else None, seed=seed)


def meant(spec: str) -> str:
    """What was probably meant, as a sentence: a bare path, or a name of CLIP_benchmark's; "" for nothing."""
    from structure.pipeline.datasets.catalogue import benchmark_names

    path = Path(spec)
    if path.is_file():
        return f"There is a file {spec}: type {'wds' if path.suffix == '.tar' else 'pairs'}:{spec}"
    if path.is_dir():
        return (
            f"There is a folder {spec}: type folder:{spec} (class folders), sidecar:{spec} (a.jpg with a.txt) "
            f"or masks:{spec} (images, masks)."
        )
    bare = spec.removeprefix("wds/")
    found = [name for name in benchmark_names() if bare in (name, name.rpartition("/")[2])]
    return f"CLIP_benchmark has one: type clip-benchmark:wds/{found[0]}" if found else ""
