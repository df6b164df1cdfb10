"""From a dataset's name to the dataset, to its files, and the list of all names."""

from __future__ import annotations

from pathlib import Path

from structure.pipeline.datasets.catalogue import benchmark_names
from structure.pipeline.datasets.dataset import Dataset
from structure.pipeline.datasets.kind import DatasetKind, Got, Listing
from structure.pipeline.datasets.pixel_meaning import PIXEL_OPTIONS, PixelMeaning
from structure.pipeline.datasets.registry import DATASET_KINDS
from structure.pipeline.datasets.spec import DatasetSpec
from structure.pipeline.progress import Listener, silent
from structure.store.errors import StructureError, unknown


def open_dataset(spec: str, *, split: str | None = None, data_root: str | Path, seed: int = 0) -> Dataset:
    """The dataset that `spec` names, a key of `DATASET_KINDS` with what its kind takes after a colon: `coco`,
    `scenes:100`, `pairs:my/pairs.jsonl`, with options of its kind after a question mark:
    `pairs:my.csv?image=file_name&sep=;`.

    Paths are looked for from the current folder, then from `data_root`. `split=None` is each kind's own default.
    `seed` draws the splits of data that bring none, and the scenes.
    Raises `NotPresentError` at once (no network is asked, but for `hf:`) where the data are not here, and
    `StructureError` for an unknown name or split (the nearest are offered) and for data that cannot be used.
    """
    kind, argument = find_kind(spec)
    dataset = kind.open(argument, split=split, data_root=Path(data_root), seed=seed)
    dataset.spec, dataset.pixels = spec, PixelMeaning.of(kind.given)
    return dataset


def find_kind(spec: str) -> tuple[DatasetKind, str]:
    """The kind of a dataset's name, with the options given to it, and what follows the colon. Nothing is opened.

    Raises `StructureError` for a name of no kind, with the nearest, for one that lacks its argument, and for an option
    that the kind does not have.
    """
    parsed = DatasetSpec.parse(spec)
    name, argument, colon = parsed.kind, parsed.argument, ":" in spec
    if name not in DATASET_KINDS:
        raise unknown("dataset", spec, DATASET_KINDS, hint=suggestion(spec))
    kind = DATASET_KINDS[name](name)
    kind.given = parsed.options
    known = dataset_options(name)
    for option in parsed.options:
        if option not in known:
            raise unknown(f"option of {kind.form}", option, known, hint=f"It is in {spec!r}.")
    PixelMeaning.of(parsed.options)
    if kind.argument == "required" and not argument:
        raise StructureError(f"Dataset {spec!r} names no data. Type {kind.form}.")
    if kind.argument == "none" and colon:
        raise StructureError(
            f"Dataset {spec!r}: {name} takes nothing after a colon. Type {kind.form}; --data-root says where."
        )
    return kind, argument


def dataset_options(name: str) -> dict[str, str]:
    """What may stand behind a question mark in the names of a kind, each with its meaning."""
    return {**DATASET_KINDS[name](name).options, **PIXEL_OPTIONS} if name in DATASET_KINDS else {}


def list_datasets(data_root: str | Path) -> list[Listing]:
    """What can be named, present or not. Looks at names of files only; opens nothing, asks no network."""
    return [listing for name in DATASET_KINDS for listing in DATASET_KINDS[name](name).listings(Path(data_root))]


def get_dataset(spec: str, *, data_root: str | Path, on_event: Listener = silent) -> Got:
    """Download what `spec` (cifar10, coco, clip-benchmark:wds/vtab/dtd) needs, check it, unpack it.

    Archives that somebody placed there by hand are taken as they are, after the same checks. Raises `NotPresentError`
    where there is no network or nothing to download, saying what to place where; `DamageError` where a download broke
    off or is damaged; `StructureError` for a name that means no published set.
    """
    name, _, argument = spec.partition(":")
    if name not in DATASET_KINDS:
        known = [full for other in DATASET_KINDS for full in DATASET_KINDS[other](other).gettable()]
        raise unknown("dataset to get", spec, known)
    return DATASET_KINDS[name](name).get(argument, data_root=Path(data_root), on_event=on_event)


def suggestion(spec: str) -> str:
    """What was probably meant by an unknown name, as a sentence: a path, or a name of CLIP_benchmark's; else ""."""
    path = Path(spec)
    if path.is_file():
        return f"There is a file {spec}: type {'wds' if path.suffix == '.tar' else 'pairs'}:{spec}"
    if path.is_dir():
        return (
            f"There is a folder {spec}: type folder:{spec} (class folders), sidecar:{spec} (a.jpg with a.txt) "
            f"or masks:{spec} (images, masks)."
        )
    bare = spec.removeprefix("wds/")
    close = [name for name in benchmark_names() if bare in (name, name.rpartition("/")[2])]
    return f"CLIP_benchmark has one: type clip-benchmark:wds/{close[0]}" if close else ""
