"""`structure datasets get`: from a dataset's name to its files below the data root."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from structure.pipeline.datasets.catalogue import (
    benchmark_absent,
    benchmark_folder,
    benchmark_names,
    benchmark_places,
    entries,
)
from structure.pipeline.datasets.download import fetch
from structure.pipeline.datasets.loading import KINDS
from structure.pipeline.datasets.raw_catalogue import Download, downloads_of, raw_sets
from structure.pipeline.datasets.unpacking import unpack
from structure.pipeline.network import hub_obstacle
from structure.pipeline.progress import Listener, Note, silent
from structure.store.errors import DamageError, NotPresentError, StructureError, unknown

COPY = "clip-benchmark:"


@dataclass(frozen=True)
class Got:
    """`splits` that are there now, `folder` where; `fetched` files were downloaded, "" of them when all was there."""

    name: str
    folder: Path
    splits: tuple[str, ...]
    fetched: tuple[str, ...]


def get_dataset(name: str, *, data_root: str | Path, on_event: Listener = silent) -> Got:
    """Download what `name` (cifar10, coco, clip-benchmark:wds/vtab/dtd) needs, check it, unpack it.

    Archives that somebody placed there by hand are taken as they are, after the same checks. Raises `NotPresentError`
    where there is no network or nothing to download, saying what to place where; `DamageError` where a download broke
    off or is damaged; `StructureError` for a name that means no published set.
    """
    root = Path(data_root)
    if name.startswith(COPY):
        return _copy(name.removeprefix(COPY), root, on_event)
    if name in raw_sets():
        raw = raw_sets()[name]
        there, folder = raw.present(root), root / raw.into
        if there:
            return Got(name, folder, there, ())
        fetched = _all(name, raw.downloads, folder, raw.get.format(folder=folder), on_event)
        there = raw.present(root)
        if not there:
            raise raw.absent(root, raw.default)
        return Got(name, folder, there, fetched)
    if name in entries():
        entry = entries()[name]
        there = entry.present(root)
        place = entry.root(root) or root / entry.folders[0]
        if there and entry.picture_folder(place, there[0]):
            return Got(name, place, there, ())
        fetched = _all(name, downloads_of(entry.downloads), place, entry.get.format(folder=place), on_event)
        return Got(name, place, entry.present(root), fetched)
    known = [*raw_sets(), *entries(), *(f"{COPY}wds/{copy}" for copy in benchmark_names())]
    hint = (
        f"{name} is read from where it lies; there is nothing to download." if name.partition(":")[0] in KINDS else ""
    )
    raise unknown("dataset to get", name, known, hint=hint)


def _all(name: str, downloads: Sequence[Download], folder: Path, how: str, on_event: Listener) -> tuple[str, ...]:
    if not downloads:
        raise NotPresentError(f"{name} cannot be downloaded by a program: its owner wants to be asked. {how}")
    for download in downloads:
        try:
            file = fetch(download, folder, on_event=on_event)
        except NotPresentError as error:
            lacking = ", ".join(item.url for item in downloads if not (folder / item.file).is_file())
            raise NotPresentError(
                f"{error} On a machine with a network fetch {lacking} and place the files, packed as they are, in "
                f"{folder}; then run this command again: it checks and unpacks them. Or {how}"
            ) from None
        if download.unpack:
            on_event(Note(f"unpacking {file.name}"))
            unpack(file, folder)
    for download in downloads:
        if download.unpack:
            (folder / download.file).unlink(missing_ok=True)
    return tuple(download.file for download in downloads)


def _copy(name: str, root: Path, on_event: Listener) -> Got:
    """A copy of CLIP_benchmark's from the hub, file by file, with the hub's own SHA-256 of the tars."""
    bare = name.removeprefix("wds/")
    if bare not in benchmark_names():
        raise unknown("copy", name, [f"wds/{copy}" for copy in benchmark_names()])
    folder = next((place for place in benchmark_places(name, root) if place.is_dir()), benchmark_places(name, root)[0])
    obstacle = hub_obstacle()
    if obstacle:
        raise NotPresentError(f"{obstacle}. {benchmark_absent(name, root)}")
    fetched = []
    for download, part in _repository(f"clip-benchmark/{benchmark_folder(name)}"):
        if not (folder / part / download.file).is_file():
            fetched.append(f"{part}/{download.file}")
        fetch(download, folder / part, on_event=on_event)
    splits = tuple(sorted(count.parent.name for count in folder.glob("*/nshards.txt")))
    return Got(f"{COPY}{name}", folder, splits, tuple(fetched))


def _repository(repo: str) -> list[tuple[Download, str]]:
    """Files of a dataset repository and the folder each lies in; nshards.txt last, since it vouches for the tars."""
    from huggingface_hub import HfApi, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    try:
        tree = list(HfApi().list_repo_tree(repo, repo_type="dataset", recursive=True))
    except (HfHubHTTPError, OSError) as error:
        raise NotPresentError(f"The hub has no dataset {repo} that can be read: {error}") from None
    files = [file for file in tree if hasattr(file, "size") and not file.path.startswith(".")]
    found = []
    for file in sorted(files, key=lambda file: (file.path.endswith("nshards.txt"), file.path)):
        part, _, _ = file.path.rpartition("/")
        if ".." in file.path.split("/") or file.path.startswith("/"):
            raise StructureError(
                f"The hub's {repo} has a file {file.path!r}, which points outside. Nothing was fetched."
            )
        url = hf_hub_url(repo, file.path, repo_type="dataset")
        lfs = getattr(file, "lfs", None)
        digest = str(lfs.sha256) if lfs else ""
        found.append((Download(url, sha256=digest, unpack=False), part))
    if not found:
        raise DamageError(f"The hub's {repo} has no files.")
    return found
