"""Augmented views of an image as further rows of its sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from structure.pipeline import extract, rank_layers
from structure.pipeline.extraction.augment_images import AUGMENTATION, augmented, crop_box
from structure.pipeline.pairing.pairs import choose_sets, pair_rows
from structure.pipeline.pairing.vector_sets import read_sets
from structure.store import Store, open_store
from structure.store.errors import FingerprintError

VISION = "bundled:scenes-vit"


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 10**6))
def test_a_crop_lies_in_the_picture(width: int, height: int, seed: int) -> None:
    left, upper, right, lower = crop_box((width, height), np.random.default_rng(seed))
    assert 0 <= left < right <= width
    assert 0 <= upper < lower <= height
    if (right - left, lower - upper) != (width, height) and min(width, height) > 20:
        least, most = AUGMENTATION["area"]
        assert least - 0.1 <= (right - left) * (lower - upper) / (width * height) <= most + 0.1


def test_a_view_depends_on_item_and_number_alone() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    one = np.asarray(augmented(picture, item="a", view=1))
    np.testing.assert_array_equal(one, np.asarray(augmented(picture, item="a", view=1)))
    others = [augmented(picture, item=item, view=view) for item, view in (("a", 2), ("b", 1), ("\udcff", 1))]
    assert all(np.asarray(other).shape != one.shape or (np.asarray(other) != one).any() for other in others)
    flips = sum(
        np.asarray(augmented(Image.fromarray(np.tile(np.arange(50, dtype=np.uint8), (50, 1))), item=str(i), view=1))[0]
        .astype(int)
        .tolist()[-1]
        < 25
        for i in range(60)
    )
    assert 10 < flips < 50  # about half are mirrored: dark to the right


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Store]:
    """The same views extracted at once, and in two runs of which the first was stopped; with all captions."""
    whole, resumed = (open_store(tmp_path_factory.mktemp(name) / "store") for name in ("whole", "resumed"))
    extract([VISION, "bundled:scenes-text"], "scenes:24", store=whole, views=3, captions="all", layers=("block.0*",))

    class StoppedError(Exception):
        pass

    def stop(event: object) -> None:
        if getattr(event, "done", 0) >= 32 and "extracting" in getattr(event, "what", ""):
            raise StoppedError

    with pytest.raises(StoppedError):
        extract(VISION, "scenes:24", store=resumed, views=3, layers=("block.0*",), on_event=stop)
    extract(VISION, "scenes:24", store=resumed, views=3, layers=("block.0*",))
    extract(VISION, "scenes:24", store=resumed, layers=("block.0*",))
    extract("bundled:scenes-text", "scenes:24", store=resumed, layers=("block.00",))
    return whole, resumed


def of(store: Store, name: str):
    return next(features for features in store.feature_sets() if features.manifest.encoder == name)


def test_views_are_rows_of_their_item(stores: tuple[Store, Store]) -> None:
    whole, resumed = stores
    views, plain = of(whole, "scenes-vit.views-3"), of(resumed, "scenes-vit")
    assert (len(views), views.manifest.views, len(plain)) == (72, 3, 24)
    first = str(plain.ids[0])
    assert views.ids[:4].tolist() == [first, f"{first}#view1", f"{first}#view2", str(plain.ids[1])]
    layer = views.layers[-1]
    np.testing.assert_allclose(views.rows(layer)[::3], plain.rows(layer), atol=2e-2)
    assert np.abs(views.rows(layer)[1::3].astype("f4") - plain.rows(layer)).max() > 0.1
    assert views.manifest.identity["data"]["views"] == {"count": 3, **AUGMENTATION}
    assert "views" not in str({**plain.manifest.identity["data"], "views": ""}["views"])
    assert views.verify() == plain.verify() == []


def test_a_stopped_run_ends_with_the_same_bytes(stores: tuple[Store, Store]) -> None:
    one, two = (of(store, "scenes-vit.views-3") for store in stores)
    assert one.fingerprint == two.fingerprint
    assert one.content() == two.content()


def test_other_views_are_other_features(stores: tuple[Store, Store], tmp_path: Path) -> None:
    whole, resumed = stores
    assert of(whole, "scenes-vit.views-3").fingerprint != of(resumed, "scenes-vit").fingerprint
    manifest = of(whole, "scenes-vit.views-3").manifest
    with pytest.raises(FingerprintError, match=r"data\.views"):
        of(whole, "scenes-vit.views-3").require(
            {**manifest.identity, "data": {**manifest.identity["data"], "views": 2}}
        )


def test_pairs_are_of_plain_pictures_and_sets_hold_all(stores: tuple[Store, Store]) -> None:
    whole, resumed = stores
    vision, text = of(whole, "scenes-vit.views-3"), of(whole, "scenes-text.captions-all")
    rows = pair_rows(whole, vision, text)
    np.testing.assert_array_equal(rows.vision, np.arange(24) * 3)
    samples = whole.samples(vision.manifest.dataset, "train")
    items = np.array([2, 5, 23])
    layer = vision.layers[-1]
    views = read_sets(vision, layer, samples, items)
    assert views.lengths.tolist() == [3, 3, 3]
    np.testing.assert_array_equal(views.row(1), vision.rows(layer, 15, 18))
    captions = read_sets(text, text.layers[-1], samples, items)
    of_caption = samples.item_of_caption(None)
    assert captions.lengths.tolist() == [int((of_caption == item).sum()) for item in items]
    np.testing.assert_array_equal(captions.row(0), text.rows(text.layers[-1])[of_caption == 2])
    assert rank_layers(store=whole, k=3, calibrate=0).ranking["rows"] <= 24

    def chosen(views: bool) -> int:
        found, _ = choose_sets(resumed, dataset=None, split=None, vision=None, text=None, several=views)
        return found.manifest.views

    assert (chosen(True), chosen(False)) == (3, 1)


def test_a_text_encoder_has_no_views(stores: tuple[Store, Store]) -> None:
    assert of(stores[0], "scenes-text.captions-all").manifest.views == 1
