"""The validation report: every fault that is planted is found, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from structure.pipeline.datasets.loading import open_dataset
from structure.pipeline.datasets.perceptual_hash import NEAR, difference_hash, near_pairs
from structure.pipeline.encoders.loading import load_tokenizer
from structure.pipeline.stages.check_data import check_data
from structure.store import StructureError
from structure.store.errors import BadSampleError


def picture(seed: int) -> Image.Image:
    """A smooth image unlike those of other seeds."""
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((96, 96), Image.Resampling.BICUBIC)


@pytest.fixture
def pairs(tmp_path: Path) -> tuple[Path, list[dict[str, Any]]]:
    rows = []
    for number in range(18):
        picture(number).save(tmp_path / f"{number}.png")
        split = ("train", "val", "test")[number % 3]
        rows.append({"image": f"{number}.png", "caption": f"image {number}", "label": "ab"[number % 2], "split": split})
    return tmp_path / "pairs.jsonl", rows


def checked(file: Path, rows: list[dict[str, Any]], **options: Any) -> Any:
    file.write_text("\n".join(map(json.dumps, rows)))
    return check_data(f"pairs:{file}", **options)


def kinds(check: Any) -> dict[str, int]:
    return {problem.kind: problem.count for problem in check.problems}


def test_good_data_have_no_problem(pairs: Any) -> None:
    found = checked(*pairs, tokenizer=load_tokenizer("bundled:scenes-text"))
    assert found.ok
    assert kinds(found) == {}
    assert [(row["split"], row["items"], row["readable"]) for row in found.splits] == [
        ("train", 6, 6),
        ("val", 6, 6),
        ("test", 6, 6),
    ]
    assert {(row["class"], row["items"]) for row in found.classes} == {("a", 3), ("b", 3)}
    assert found.limit is not None


def test_every_split_of_the_data_is_read_whatever_it_is_called(pairs: Any) -> None:
    file, rows = pairs
    for row in rows:
        row["split"] = {"val": "valid"}.get(row["split"], row["split"])
    rows[1]["caption"] = ""
    found = checked(file, rows)
    assert [row["split"] for row in found.splits] == ["train", "valid", "test"]
    assert kinds(found) == {"caption or file missing": 1}


def test_every_planted_fault_is_found(pairs: Any) -> None:
    file, rows = pairs
    folder = file.parent
    (folder / "0.png").unlink()
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:200])
    (folder / "5.png").write_bytes((folder / "6.png").read_bytes())  # test has an image of train
    picture(9).filter(ImageFilter.GaussianBlur(1)).resize((80, 80)).save(folder / "8.png")  # and one nearly the same
    (folder / "13.png").write_bytes((folder / "10.png").read_bytes())
    rows[4]["caption"] = "word " * 400
    rows[7]["caption"] = "  "
    for row in rows:
        if row["split"] == "val":
            row["label"] = "a"
    found = checked(file, rows, tokenizer=load_tokenizer("bundled:scenes-text"))
    assert not found.ok
    assert kinds(found) == {
        "file missing or not readable": 2,
        "caption or file missing": 1,
        "image in two splits": 1,
        "images of two splits nearly the same": 1,
        "image repeats in its split": 1,
        "caption over the limit": 1,
        "class without sample": 1,
    }
    told = {problem.kind: " ".join(problem.examples) for problem in found.problems}
    assert "0.png" in told["file missing or not readable"]
    assert "9.png (train) and 8.png (test)" in told["images of two splits nearly the same"]


def test_likeness_survives_scaling_and_tells_others_apart() -> None:
    hashes = np.stack([difference_hash(picture(seed)) for seed in range(60)])
    changed = np.stack([difference_hash(picture(seed).resize((50, 50)).point(lambda v: v * 0.9)) for seed in range(60)])
    assert near_pairs(hashes, changed) == [(seed, seed) for seed in range(60)]
    assert difference_hash(Image.new("RGB", (50, 50), "red")) is None
    slow = [
        (i, j)
        for i in range(60)
        for j in range(60)
        if sum(bin(int(a) ^ int(b)).count("1") for a, b in zip(hashes[i], changed[j], strict=True)) <= NEAR + 30
    ]
    assert near_pairs(hashes, changed, bits=NEAR + 30) == slow


def test_a_model_that_reads_no_text_is_refused(pairs: Any) -> None:
    with pytest.raises(StructureError, match="reads no text"):
        checked(*pairs, tokenizer=load_tokenizer("bundled:scenes-vit"))


def test_pictures_with_texts_beside_them(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a", "in/b", "c", "d"):
        picture(len(name)).save(tmp_path / f"{name}.jpg")
    (tmp_path / "a.txt").write_text("first\n\n second \n")
    (tmp_path / "in/b.txt").write_text("third")
    (tmp_path / "d.txt").write_text("\n")
    dataset = open_dataset(f"sidecar:{tmp_path}", data_root=tmp_path)
    assert [dataset.ids[i] for i in range(4)] == ["a.jpg", "c.jpg", "d.jpg", "in/b.jpg"]  # type: ignore[attr-defined]
    assert dataset.item(0).captions == ("first", "second")
    assert dataset.notes == ("1 of 4 images have no text file beside them",)
    for index in (1, 2):
        with pytest.raises(BadSampleError, match="caption"):
            dataset.item(index)
    found = check_data(f"sidecar:{tmp_path}", splits=["all"])
    assert kinds(found)["caption or file missing"] == 2
    (tmp_path / "bare").mkdir()
    with pytest.raises(StructureError, match="0 images and beside none"):
        open_dataset(f"sidecar:{tmp_path / 'bare'}", data_root=tmp_path)
