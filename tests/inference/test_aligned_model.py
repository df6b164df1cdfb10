"""An aligned model in Python: paths and images in, hits and labels out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from structure.pipeline import AlignedModel, label, search
from structure.store import StructureError
from structure.store.errors import BadSampleError, UsageError
from tests.inference.conftest import Place


def test_paths_and_images_are_searched_and_labelled(place: Place) -> None:
    model = AlignedModel.load(place.store, "ridge", device="cpu")
    paths = [place.photos / f"{number:03d}.png" for number in range(6)]
    opened = [Image.open(path) for path in paths]
    assert np.array_equal(model.encode_images(paths), model.encode_images(opened))
    (own,) = model.search(paths[4], paths, k=2)
    assert (own[0].rank, own[0].id, own[0].path) == (1, str(paths[4]), str(paths[4]))
    words, image = model.search(["a red circle", opened[3]], opened, k=3)
    assert image[0].id == "3"
    assert [hit.score for hit in words] == sorted((hit.score for hit in words), reverse=True)
    rows = model.label(opened, ["red", "blue"], templates=["a {c} shape"])
    assert [set(row) >= {"label", "probability", "margin", "label_2"} for row in rows] == [True] * 6


def test_images_of_any_mode_are_read_as_their_files_are(place: Place, tmp_path: Path) -> None:
    model = AlignedModel.load(place.store, "ridge", device="cpu")
    image = Image.open(place.photos / "003.png").convert("RGB")
    image.putalpha(Image.radial_gradient("L").resize(image.size).point(lambda value: 255 * (value > 100)))
    paths = []
    for mode in ("RGBA", "LA", "P", "L", "1"):
        paths.append(tmp_path / f"{mode}.png")
        image.convert(mode).save(paths[-1])
    found = model.encode_images([*map(str, paths[:2]), *paths[2:]])
    assert np.array_equal(found, model.encode_images([Image.open(path) for path in paths]))
    assert len(np.unique(found.round(4), axis=0)) > 2
    assert model.search("a red circle", []) == [()]
    assert model.encode_images([]).shape == model.encode_texts([]).shape == (0, model.dim)


def test_a_dataset_of_its_store_is_searched_as_by_the_command(place: Place) -> None:
    model = AlignedModel.load(place.store, "ridge", device="cpu")
    (found,) = model.search("a red circle", "mine", k=4)
    assert found == search("a red circle", store=place.store, k=4).queries[0].hits
    named = label("mine", classes=["red", "blue"], store=place.store, aligner="ridge").rows
    assert [row["label"] for row in model.label("mine", ["red", "blue"])] == [row["label"] for row in named]
    assert len(model.search("a red circle", place.photos, k=99)[0]) == 80


def test_mistakes_are_told(place: Place, tmp_path: Path) -> None:
    model = AlignedModel.load(place.store.folder("aligners", "ridge").url, device="cpu")
    with pytest.raises(UsageError, match=r"loaded from a folder. Load it from its store"):
        model.search("a circle", "mine")
    with pytest.raises(UsageError, match="The query is empty"):
        model.search("", [])
    with pytest.raises(StructureError, match="takes a list of images"):
        model.encode_images(place.photos / "000.png")  # type: ignore[arg-type]
    with pytest.raises(BadSampleError, match="there is no file"):
        model.encode_images([tmp_path / "none.png"])
    with pytest.raises(StructureError, match="Sample 1 is a int, not a PIL image or the path"):
        model.encode_images([place.photos / "000.png", 5])
