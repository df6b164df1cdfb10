"""Modalities of any name: imported, ranked and aligned two by two; and features of samples that were withdrawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from structure.pipeline import align, import_features, rank_layers
from structure.pipeline.progress import Note
from structure.pipeline.run_context import RunContext
from structure.pipeline.stages.drop_items import DropItemsRequest
from structure.pipeline.stages.drop_items import run as drop
from structure.store import StructureError, open_store


def test_any_name_is_a_modality_and_two_are_ranked_and_aligned(tmp_path: Path) -> None:
    random, store = np.random.default_rng(0), tmp_path / "store"
    hidden = random.standard_normal((60, 5))
    for model, modality in (
        ("strokes", "path"),
        ("spectra", "sound-spectrum"),
        ("photos", "vision"),
        ("words", "text"),
    ):
        layer = (hidden @ random.standard_normal((5, 8))).astype(np.float32)
        file = tmp_path / f"{model}.npz"
        np.savez(file, layer=layer)
        import_features(file, model=model, modality=modality, dataset="cells", store=store)
    assert open_store(store)["cells/train/strokes"].modality == "path"
    ranked = rank_layers(store=store, vision="strokes", text="spectra", k=5, calibrate=8, forecast=False)
    assert ranked.best() == ("layer", "layer")
    done = align("last", store=store, vision="strokes", text="spectra", method="ridge", test=0.3)
    assert done.to_json()["test_metrics"]["image_retrieval_recall@1"] > 0.5  # the one is a linear map of the other
    record = done.trained.aligner.metadata["encoders"]
    assert [record[side]["modality"] for side in ("vision", "text")] == ["path", "sound-spectrum"]
    usual = align("last", store=store, method="ridge", test=0.3)  # beside others, vision and text are meant
    assert [usual.trained.aligner.metadata["encoders"][side]["name"] for side in ("vision", "text")] == [
        "photos",
        "words",
    ]
    with pytest.raises(StructureError, match="is there as path"):
        import_features(tmp_path / "strokes.npz", model="strokes", modality="vision", dataset="cells", store=store)
    with pytest.raises(StructureError, match="--modality 'a/b' cannot be a name"):
        import_features(tmp_path / "strokes.npz", model="x", modality="a/b", dataset="cells", store=store)
    notes: list[str] = []
    import_features(
        tmp_path / "strokes.npz",
        model="typo",
        modality="visoin",
        dataset="cells",
        store=store,
        on_event=lambda event: notes.append(event.text) if isinstance(event, Note) else None,
    )
    assert notes == ["visoin is a modality of its own. If vision is meant: --modality vision"]


def test_of_two_other_modalities_none_need_be_named(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for modality in ("path", "shape"):
        np.savez(tmp_path / "file.npz", layer=random.standard_normal((40, 6)).astype(np.float32))
        import_features(tmp_path / "file.npz", model=modality, modality=modality, dataset="d", store=tmp_path / "store")
    done = align("last", store=tmp_path / "store", method="ridge")
    assert [side["name"] for side in done.trained.aligner.metadata["encoders"].values()] == ["path", "shape"]


def test_features_of_withdrawn_samples_are_not_imported(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((20, 6)).astype(np.float32)
    ids = np.array([f"cell{i}" for i in range(20)])
    np.savez(tmp_path / "whole.npz", layer=values, ids=ids)
    options = {"dataset": "cells", "modality": "vision", "store": tmp_path / "store"}
    import_features(tmp_path / "whole.npz", model="first", **options)
    drop(DropItemsRequest("cells", ids=["cell3", "cell7"]), RunContext.of(tmp_path / "store"))
    left = np.setdiff1d(np.arange(20), [3, 7])
    np.savez(tmp_path / "fewer.npz", layer=values[left], ids=ids[left])
    np.savez(tmp_path / "bare.npz", layer=values[left])
    for name in ("whole", "fewer", "bare"):
        features = import_features(tmp_path / f"{name}.npz", model=name, **options)
        assert features.skipped == {3: "withdrawn", 7: "withdrawn"}
        assert features.verify() == []
        assert np.array_equal(features.rows("layer")[left], values[left])
    content = b"".join(path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file())
    assert values[3].tobytes() not in content
