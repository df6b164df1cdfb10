"""Names of datasets: what they open, how they are listed, and what a wrong one is answered with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from structure.pipeline.datasets import open_dataset
from structure.pipeline.datasets.benchmark_folders import benchmark_folder
from structure.pipeline.datasets.catalogue import benchmark_names, entries, published_names
from structure.pipeline.datasets.loading import list_datasets
from structure.pipeline.datasets.paths import folder_safe
from structure.pipeline.datasets.registry import DATASET_KINDS
from structure.pipeline.installed_package import is_installed
from structure.store.errors import NotPresentError, StructureError


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("coc", r"Unknown dataset 'coc'. Did you mean coco"),
        ("gtsrb", r"type clip-benchmark:wds/gtsrb"),
        ("wds/flickr8k", r"type clip-benchmark:wds/flickr8k"),
        ("folders:x", r"Unknown dataset 'folders:x'"),
        ("pairs", r"Dataset 'pairs' names no data. Type pairs:FILE.jsonl"),
        ("masks:", r"names no data. Type masks:DIR"),
        ("coco:2017", r"coco takes nothing after a colon"),
        ("scenes:many", r"N is a whole number of scenes. Type scenes:1000"),
        ("scenes:0", r"scenes:0 asks for 0 scenes"),
    ],
)
def test_a_name_that_cannot_be_meant(spec: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(StructureError, match=message):
        open_dataset(spec, data_root=tmp_path)


def test_a_bare_path_is_offered_as_a_name(tmp_path: Path) -> None:
    (tmp_path / "my.jsonl").write_text("{}")
    with pytest.raises(StructureError, match=r"There is a file .*type pairs:/.*my.jsonl"):
        open_dataset(str(tmp_path / "my.jsonl"), data_root=tmp_path)
    with pytest.raises(StructureError, match=r"There is a folder .*type folder:/"):
        open_dataset(str(tmp_path), data_root=tmp_path)


@pytest.mark.parametrize(
    "spec",
    [
        *("coco", "flickr8k", "flickr30k", "pairs:a.jsonl", "folder:a", "masks:a", "wds:a/{0..9}.tar"),
        *("clip-benchmark:wds/vtab/cifar10", "clip-benchmark:nothing/like/it"),
    ],
)
def test_data_that_are_not_here_are_answered_at_once(spec: str, tmp_path: Path) -> None:
    with pytest.raises(NotPresentError) as caught:
        open_dataset(spec, data_root=tmp_path / "data")
    assert str(tmp_path / "data") in str(caught.value)


def test_scenes_by_name(tmp_path: Path) -> None:
    assert (len(open_dataset("scenes:7", data_root=tmp_path)), open_dataset("scenes", data_root=tmp_path).split) == (
        7,
        "train",
    )
    assert open_dataset("scenes:3", split="val", seed=2, data_root=tmp_path).split == "val"


def test_paths_are_looked_for_below_the_data_root_too(copy_folder: Path, tmp_path: Path) -> None:
    (copy_folder.parent / "set" / "ant").mkdir(parents=True)
    (copy_folder.parent / "set/ant/a.png").write_bytes(b"x")
    assert len(open_dataset("folder:set", data_root=tmp_path)) == 1


def test_the_list_says_what_is_here(copy_folder: Path, tmp_path: Path) -> None:
    nothing = {listing.name: listing for listing in list_datasets(tmp_path / "nowhere")}
    here = {"scenes[:N]"} | ({"icons[:N]"} if is_installed("material-design-icons-pack") else set())
    assert {name for name, listing in nothing.items() if listing.present} == here
    assert sum(name.startswith("clip-benchmark:wds/") for name in nothing) == 41
    how = nothing["clip-benchmark:wds/vtab/cifar10"].how
    assert "structure datasets get clip-benchmark:wds/vtab/cifar10" in how
    assert "the hub's dataset clip-benchmark/wds_vtab-cifar10" in how
    (tmp_path / "coco/annotations").mkdir(parents=True)
    (tmp_path / "coco/annotations/captions_val2017.json").write_text("{}")
    there = {listing.name: listing for listing in list_datasets(tmp_path)}
    assert (there["coco"].present, there["coco"].splits) == (True, ("val2017",))
    copy = there["clip-benchmark:wds/vtab-tiny"]
    assert (copy.present, copy.splits, copy.where) == (True, ("test",), str(copy_folder))
    assert len(open_dataset(copy.name, data_root=tmp_path)) == 5


def test_the_catalogue_names_what_can_be_opened() -> None:
    assert set(entries()) | set(published_names("raw")) | set(published_names("segmentation")) <= set(DATASET_KINDS)
    assert len(set(benchmark_names())) == 41
    assert benchmark_folder("wds/vtab/cifar10") == benchmark_folder("vtab/cifar10") == "wds_vtab-cifar10"


def test_the_suite_and_the_catalogue_agree_on_the_copies() -> None:
    from importlib.resources import files

    suite = yaml.safe_load(
        files("structure.configs").joinpath("suites/clip-benchmark.yaml").read_text(encoding="utf-8")
    )
    specs = [task["dataset"] if isinstance(task, dict) else task for task in suite["tasks"]]
    assert sorted(specs) == sorted(f"clip-benchmark:wds/{name}" for name in benchmark_names())


@given(st.text(max_size=40))
def test_folder_names_are_safe_and_stay_as_they_are(name: str) -> None:
    safe = folder_safe(name)
    assert safe
    assert set(safe) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    assert not safe.startswith((".", "-"))
    assert folder_safe(safe) == safe


def test_names_in_other_scripts_stay_apart() -> None:
    assert folder_safe("数据") != folder_safe("数集")
    assert folder_safe("emojitwo64") == "emojitwo64"


def test_listing_and_refusing_need_no_torch() -> None:
    code = (
        "import sys; from structure.pipeline.datasets import open_dataset\n"
        "from structure.pipeline.datasets.loading import list_datasets\n"
        "list_datasets('nowhere'); assert not {'torch', 'transformers', 'PIL'} & set(sys.modules)\n"
        "from structure.pipeline.datasets import coco, flickr, folder, hub, masks, pairs, webdataset_export\n"
        "assert not {'torch', 'transformers', 'datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
