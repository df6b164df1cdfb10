"""Which row belongs to which: pairs, subsets, gathering, and how a command finds the two feature sets it means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from structure.pipeline import import_features
from structure.pipeline.pairing.pairs import PairedRows, choose_sets, pair_rows
from structure.store import Rows, SampleItem, Samples, Store, StructureError, open_store


def features_of(
    store: Store, tmp_path: Path, name: str, modality: str, rows: int, *, split: str = "train"
) -> np.ndarray:
    """Import random features; returns them."""
    values = np.random.default_rng(len(name)).standard_normal((rows, 6)).astype(np.float32)
    np.savez(tmp_path / "features.npz", **{"block.00": values, "block.01": values * 2})
    import_features(
        tmp_path / "features.npz",
        model=name,
        modality=modality,  # type: ignore[arg-type]
        dataset="toy",
        split=split,
        store=store,
    )
    return values


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """100 samples with two captions each, but sample 3 has none."""
    opened = open_store(tmp_path / "store")
    items = [SampleItem(f"i{i}", () if i == 3 else (f"first {i}", f"second {i}"), f"d{i}") for i in range(100)]
    opened.put_samples(Samples.build("toy", "train", items))
    return opened


def test_an_item_is_paired_with_its_first_caption(store: Store, tmp_path: Path) -> None:
    features_of(store, tmp_path, "vit", "vision", 100)
    words = features_of(store, tmp_path, "bert", "text", 198)
    vision, text = store["toy/train/vit"], store["toy/train/bert"]
    pairs = pair_rows(store, vision, text)
    assert len(pairs) == 99
    assert pairs.skipped == 1
    assert 3 not in pairs.items
    assert [text.ids[row] for row in pairs.text[:5]] == ["i0#0", "i1#0", "i2#0", "i4#0", "i5#0"]
    np.testing.assert_array_equal(vision.ids[pairs.vision], [f"i{i}" for i in range(100) if i != 3])
    np.testing.assert_array_equal(Rows(text, "block.00", pairs.text)[:], words[pairs.text])


def test_first_captions_alone_pair_as_well(store: Store, tmp_path: Path) -> None:
    features_of(store, tmp_path, "vit", "vision", 100)
    features_of(store, tmp_path, "bert", "text", 99)
    pairs = pair_rows(store, store["toy/train/vit"], store["toy/train/bert"])
    np.testing.assert_array_equal(pairs.text, np.arange(99))


@given(st.integers(1, 130), st.integers(0, 5))
def test_a_subset_is_seeded_ordered_and_without_repeats(count: int, seed: int) -> None:
    rows = np.arange(100) * 3
    pairs = PairedRows(rows, rows + 1, rows + 2, 0)
    subset = pairs.subset(count, seed=seed)
    assert len(subset) == min(count, 100)
    assert (np.diff(subset.vision) > 0).all()
    np.testing.assert_array_equal(subset.text, subset.vision + 1)
    np.testing.assert_array_equal(subset.items, pairs.subset(count, seed=seed).items)


def test_selected_rows_read_like_an_array(store: Store, tmp_path: Path) -> None:
    values = features_of(store, tmp_path, "vit", "vision", 100)
    rows = np.array([99, 4, 4, 70, 0])
    lazy = Rows(store["toy/train/vit"], "block.01", rows)
    assert lazy.shape == (5, 6)
    np.testing.assert_array_equal(lazy[1:4], values[rows[1:4]] * 2)


def test_the_only_two_sets_need_no_naming(store: Store, tmp_path: Path) -> None:
    features_of(store, tmp_path, "vit", "vision", 100)
    features_of(store, tmp_path, "bert", "text", 198)
    vision, text = choose_sets(store, dataset=None, split=None, vision=None, text=None)
    assert (vision.key, text.key) == ("toy/train/vit", "toy/train/bert")


def test_a_missing_side_and_several_sets_are_told_with_what_settles_it(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StructureError, match="has no features.*structure extract"):
        choose_sets(store, dataset=None, split=None, vision=None, text=None)
    features_of(store, tmp_path, "vit", "vision", 100)
    with pytest.raises(
        StructureError, match=r"no text feature set.*toy/train/vit.*--model <text encoder> --dataset toy"
    ):
        choose_sets(store, dataset=None, split=None, vision=None, text=None)
    features_of(store, tmp_path, "bert", "text", 198)
    features_of(store, tmp_path, "dino", "vision", 100)
    with pytest.raises(StructureError, match=r"2 vision feature sets.*toy/train/dino, toy/train/vit.*--vision"):
        choose_sets(store, dataset=None, split=None, vision=None, text=None)
    with pytest.raises(StructureError, match=r"Unknown features 'dinno'. Did you mean dino"):
        choose_sets(store, dataset=None, split=None, vision="dinno", text=None)
    vision, _ = choose_sets(store, dataset=None, split=None, vision="dino", text=None)
    assert vision.key == "toy/train/dino"


def test_two_sets_of_one_modality_are_told_how_they_are_compared(store: Store, tmp_path: Path) -> None:
    features_of(store, tmp_path, "vit", "vision", 100)
    features_of(store, tmp_path, "dino", "vision", 100)
    with pytest.raises(StructureError, match="To compare two of one modality .*--vision dino --text vit"):
        choose_sets(store, dataset=None, split=None, vision=None, text=None)
    first, second = choose_sets(store, dataset=None, split=None, vision="dino", text="vit", one_modality=True)
    assert (first.key, second.key) == ("toy/train/dino", "toy/train/vit")


def test_features_of_different_splits_are_no_pairs(store: Store, tmp_path: Path) -> None:
    features_of(store, tmp_path, "vit", "vision", 100)
    features_of(store, tmp_path, "bert", "text", 50, split="test")
    with pytest.raises(StructureError, match="features of different data"):
        pair_rows(store, store["toy/train/vit"], store["toy/test/bert"])


def test_the_two_sides_are_told_by_their_manifests(store: Store, tmp_path: Path) -> None:
    for name, modality, rows in (("vit", "vision", 100), ("dino", "vision", 100), ("bert", "text", 198)):
        features_of(store, tmp_path, name, modality, rows)

    def chosen(vision: str | None, text: str | None, *, one_modality: bool = False) -> None:
        choose_sets(store, dataset=None, split=None, vision=vision, text=text, one_modality=one_modality)

    for one_modality in (True, False):
        with pytest.raises(
            StructureError, match=r"Both sides are toy/train/vit \(vision\): features compared with them"
        ):
            chosen("vit", "vit", one_modality=one_modality)
        with pytest.raises(StructureError, match=r"Both sides are toy/train/bert \(text\)"):
            chosen("bert", None, one_modality=one_modality)
        with pytest.raises(
            StructureError, match=r"swapped: toy/train/bert is text .* Write --vision vit --text bert\."
        ):
            chosen("bert", "vit", one_modality=one_modality)
        chosen("vit", "bert", one_modality=one_modality)
    chosen("vit", "dino", one_modality=True)
    with pytest.raises(StructureError, match=r"both vision.*structure rank-layers --vision vit --text dino"):
        chosen("vit", "dino")
