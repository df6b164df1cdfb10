"""A folder of scenes as image files with captions, a store with both bundled encoders over it, and an aligner."""

from __future__ import annotations

import csv
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from structure.pipeline import align, extract
from structure.pipeline.datasets import open_dataset
from structure.store import Store, open_store

MODELS = ["bundled:scenes-vit", "bundled:scenes-text"]
LAYERS = ["block.0[23]"]


@dataclass(frozen=True)
class Place:
    """A folder with `photos/` and `pairs.csv`, and the store beside it."""

    root: Path

    @property
    def store(self) -> Store:
        return open_store(self.root / "store")

    @property
    def photos(self) -> Path:
        return self.root / "photos"

    @property
    def pairs(self) -> Path:
        return self.root / "mine.csv"


def write_photos(root: Path, count: int, *, seed: int = 0) -> None:
    """`photos/000.png`, ... and `mine.csv`, of the first scenes."""
    scenes = open_dataset(f"scenes:{count}", split="train", data_root=root, seed=seed)
    (root / "photos").mkdir(exist_ok=True)
    with (root / "mine.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "caption"])
        for number in range(count):
            name = f"photos/{number:03d}.png"
            if not (root / name).exists():
                scenes.image(number).save(root / name)
            writer.writerow([name, scenes.item(number).captions[0]])


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """80 image files, both sides extracted, the aligner `ridge`; read-only for tests."""
    place = Place(tmp_path_factory.mktemp("photos"))
    write_photos(place.root, 80)
    extract(MODELS, f"pairs:{place.pairs}", store=place.store, layers=LAYERS)
    align("last", store=place.store, method="ridge", name="ridge")
    return place


@pytest.fixture
def place(photos: Place, tmp_path: Path) -> Place:
    """A copy of it that a test may change; the images stay where they were, unless a test moves them."""
    shutil.copytree(photos.root, tmp_path / "copy")
    return Place(tmp_path / "copy")
