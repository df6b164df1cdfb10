"""The dataset `icons`: what is in a split, what is drawn, and what is said where it cannot be."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import vl_convert

from structure.pipeline.datasets import icons, open_dataset
from structure.pipeline.datasets.loading import list_datasets
from structure.store.errors import BadSampleError, NotPresentError, StructureError

SPLITS = ("train", "val", "test")


def test_all_icons_that_are_not_deprecated_are_in_one_of_three_splits(tmp_path: Path) -> None:
    of_split = {split: open_dataset("icons", split=split, data_root=tmp_path) for split in SPLITS}
    whole = open_dataset("icons", split="all", data_root=tmp_path)
    sizes = {split: len(dataset) for split, dataset in of_split.items()}
    assert sum(sizes.values()) == len(whole) == 7188
    assert sizes == {"train": 5638, "val": 756, "test": 794}
    assert whole.item(0).captions == (whole.item(0).id.replace("-", " "),)
    assert open_dataset("icons", data_root=tmp_path).split == "train"


def test_no_split_has_an_icon_of_anothers_subject_or_drawing(tmp_path: Path) -> None:
    for key in (icons.subject, icons._svg):
        seen = [{key(name) for name in open_dataset("icons", split=s, data_root=tmp_path).ids} for s in SPLITS]
        assert [one & other for one, other in itertools.combinations(seen, 2)] == [set()] * 3
    assert icons.subject("bell-circle-outline") == icons.subject("bell") == "bell"
    assert icons.subject("circle-outline") == "circle"
    assert icons.subject("bell-plus") == "bell-plus"


def test_a_number_cuts_a_list_that_is_shuffled_the_same_everywhere(tmp_path: Path) -> None:
    some, whole = (open_dataset(name, split="test", data_root=tmp_path) for name in ("icons:5", "icons"))
    assert some.ids == whole.ids[:5]
    assert some.ids[0] == "arrow-bottom-right-bold-box"
    assert sorted(whole.ids) != list(whole.ids)
    for wrong in ("icons:0", "icons:795"):
        with pytest.raises(StructureError, match=f"{wrong} asks for .* the split test has 794. Type icons:794 or less"):
            open_dataset(wrong, split="test", data_root=tmp_path)
    with pytest.raises(StructureError, match="whole number of icons"):
        open_dataset("icons:many", data_root=tmp_path)
    with pytest.raises(StructureError, match="Did you mean train"):
        open_dataset("icons", split="trian", data_root=tmp_path)
    assert open_dataset("icons", split="test", data_root=tmp_path, seed=3).split == "test-seed3"


def test_an_icon_is_black_on_white_and_a_bad_one_is_a_bad_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_dataset("icons:2", data_root=tmp_path)
    first = np.asarray(dataset.image(0))
    assert first.shape == (96, 96, 3)
    assert tuple(first[0, 0]) == (255, 255, 255)
    assert tuple(first.min(axis=(0, 1))) == (0, 0, 0)

    def fails(svg: str) -> bytes:
        raise ValueError("no such element")

    monkeypatch.setattr(vl_convert, "svg_to_png", fails)
    with pytest.raises(BadSampleError, match=f"{dataset.ids[1]}: its drawing cannot be rendered: no such"):
        dataset.image(1)
    assert list(tmp_path.iterdir()) == []


def test_what_draws_an_icon_is_part_of_its_digest(tmp_path: Path) -> None:
    dataset = open_dataset("icons:1", data_root=tmp_path)
    before = dataset.digest(0), dataset.stamp(0)
    dataset.source = dataset.source.replace("vl-convert-python 1", "vl-convert-python 9")
    assert before[0] != dataset.digest(0)
    assert before[1] != dataset.stamp(0)


def test_without_the_package_the_answer_is_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(icons, "is_installed", lambda package: False)
    with pytest.raises(NotPresentError, match=r"not installed. To get it: pip install 'structure-align\[demo\]'$"):
        open_dataset("icons", data_root=tmp_path)
    (listed,) = [one for one in list_datasets(tmp_path) if one.name.startswith("icons")]
    assert not listed.present


def test_the_list_of_datasets_draws_nothing() -> None:
    code = (
        "import sys; from structure.pipeline.datasets import list_datasets, open_dataset\n"
        "list_datasets('nowhere'); open_dataset('icons:9', data_root='nowhere').digest(3)\n"
        "assert not {'vl_convert', 'PIL', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
