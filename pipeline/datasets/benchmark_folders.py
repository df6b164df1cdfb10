"""Where CLIP_benchmark's webdataset copies lie, which are there, and how one is downloaded."""

from __future__ import annotations

from pathlib import Path

from structure.pipeline.datasets.catalogue import Download, benchmark_copies, benchmark_names
from structure.pipeline.datasets.download import fetch
from structure.pipeline.datasets.kind import Got, Listing
from structure.pipeline.hub_access import hub_obstacle
from structure.pipeline.progress import Listener
from structure.store.errors import DamageError, NotPresentError, StructureError, nearest, unknown


def benchmark_folder(name: str) -> str:
    """`wds/vtab/cifar10` or `vtab/cifar10` -> `wds_vtab-cifar10`; the folder's own name stays as it is."""
    bare = name.strip("/").removeprefix("wds/").removeprefix("wds_")
    return f"wds_{bare.replace('/', '-')}"


def benchmark_paths(name: str, data_root: Path) -> list[Path]:
    """Where the copy `name` is looked for, in order."""
    folder = benchmark_folder(name)
    return [data_root / folder, data_root / "clip-benchmark" / folder]


def benchmark_absent(name: str, data_root: Path) -> NotPresentError:
    """The error for a copy that is not there; offers the nearest known names for one that is not known."""
    paths = " and ".join(map(str, benchmark_paths(name, data_root)))
    known = benchmark_names()
    bare = name.strip("/").removeprefix("wds/")
    here = [listing.name.removeprefix("clip-benchmark:wds/") for listing in list_copies(data_root) if listing.present]
    close = [f"clip-benchmark:wds/{option}" for option in nearest(bare, dict.fromkeys([*here, *known]))]
    if bare in known:
        remedy = f"To get it: {_how(benchmark_folder(name), data_root)}"
    elif close:
        remedy = f"CLIP_benchmark has no copy of that name. Did you mean {' or '.join(close)}?"
    else:
        remedy = "CLIP_benchmark has no copy of that name; `structure datasets` lists the names."
    return NotPresentError(
        f"Dataset clip-benchmark:{name} is not on this machine; looked for {paths} (--data-root says where). {remedy}"
    )


def list_copies(data_root: Path) -> list[Listing]:
    """CLIP_benchmark's copies, and whatever else is there in its layout."""
    known = {benchmark_folder(name) for name in benchmark_names()}
    present = {
        path.name: path
        for folder in (data_root / "clip-benchmark", data_root)
        if folder.is_dir()
        for path in sorted(folder.glob("wds_*"))
        if path.is_dir()
    }
    listings = []
    for folder in [*map(benchmark_folder, benchmark_names()), *sorted(present.keys() - known)]:
        path = present.get(folder)
        splits = tuple(sorted(count.parent.name for count in path.glob("*/nshards.txt"))) if path else ()
        summary, where = "a copy in CLIP_benchmark's layout", str(path or data_root / folder)
        how = _how(folder, data_root)
        listings.append(Listing(_name(folder), summary, splits or ("test",), "test", bool(splits), where, how))
    return listings


def get_copy(name: str, data_root: Path, *, on_event: Listener) -> Got:
    """Download a copy from the hub, file by file, with the hub's own SHA-256 of the tars. Raises as `get_dataset`."""
    bare = name.removeprefix("wds/")
    if bare not in benchmark_names():
        raise unknown("copy", name, [f"wds/{copy}" for copy in benchmark_names()])
    paths = benchmark_paths(name, data_root)
    folder = next((path for path in paths if path.is_dir()), paths[0])
    obstacle = hub_obstacle()
    if obstacle:
        raise NotPresentError(f"{obstacle}. {benchmark_absent(name, data_root)}")
    fetched = []
    for download, part in _repository(f"clip-benchmark/{benchmark_folder(name)}"):
        if not (folder / part / download.file).is_file():
            fetched.append(f"{part}/{download.file}")
        fetch(download, folder / part, on_event=on_event)
    splits = tuple(sorted(count.parent.name for count in folder.glob("*/nshards.txt")))
    return Got(f"clip-benchmark:{name}", folder, splits, tuple(fetched))


def _name(folder: str) -> str:
    known = {benchmark_folder(name): name for name in benchmark_names()}
    return f"clip-benchmark:wds/{known.get(folder, folder.removeprefix('wds_'))}"


def _how(folder: str, data_root: Path) -> str:
    return benchmark_copies().get.format(copy=folder, folder=data_root / folder, name=_name(folder))


def _repository(repo: str) -> list[tuple[Download, str]]:
    """Files of a dataset repository and the folder each lies in; nshards.txt last, since it vouches for the tars."""
    from huggingface_hub import HfApi, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    try:
        tree = list(HfApi().list_repo_tree(repo, repo_type="dataset", recursive=True))
    except (HfHubHTTPError, OSError) as error:
        raise NotPresentError(f"The hub has no dataset {repo} that can be read: {error}") from None
    files = [file for file in tree if hasattr(file, "size") and not file.path.startswith(".")]
    downloads = []
    for file in sorted(files, key=lambda file: (file.path.endswith("nshards.txt"), file.path)):
        part, _, _ = file.path.rpartition("/")
        if ".." in file.path.split("/") or file.path.startswith("/"):
            raise StructureError(
                f"The hub's {repo} has a file {file.path!r}, which points outside. Nothing was fetched."
            )
        url = hf_hub_url(repo, file.path, repo_type="dataset")
        lfs = getattr(file, "lfs", None)
        digest = str(lfs.sha256) if lfs else ""
        downloads.append((Download(url, sha256=digest, unpack=False), part))
    if not downloads:
        raise DamageError(f"The hub's {repo} has no files.")
    return downloads
