"""Several layers of a side as one: the same as arrays concatenated by hand, everywhere that layers are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from structure.cli.main import run
from structure.cli.training import axis
from structure.pipeline import align, evaluate, load_aligner, search
from structure.pipeline.aligners.aligner_method import fit
from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.inference.aligned_model import AlignedModel
from structure.pipeline.pairing.pairs import choose_sets, pair_rows
from structure.pipeline.stages.export import export
from structure.store import JoinedRows, Rows, Store
from structure.store.errors import StructureError
from structure.store.joined_rows import layer_rows

JOINED = "block.03+pooled,block.02+embed"
SUITE = """name: small
version: 1
tasks:
  - {dataset: 'scenes:40', split: test, kind: zeroshot_retrieval, metric: image_retrieval_recall@1}
  - {dataset: 'scenes:40', split: test, kind: zeroshot_classification, label: colour, metric: acc1, prompts: plain}
"""


def sides(store: Store) -> list[list[np.ndarray]]:
    """The layers of `JOINED` of all pairs, by side."""
    sets = choose_sets(store, dataset=None, split=None, vision=None, text=None)
    rows = pair_rows(store, *sets)
    return [
        [np.asarray(Rows(features, name, numbers)[:], np.float64) for name in names.split("+")]
        for features, names, numbers in zip(sets, JOINED.split(","), (rows.vision, rows.text), strict=True)
    ]


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def by_hand(layers: list[np.ndarray]) -> np.ndarray:
    """Unit rows, centred on the mean, unit rows again, concatenated."""
    parts = [unit(unit(layer) - unit(layer).mean(axis=0)) for layer in layers]
    return np.concatenate(parts, axis=1).astype(np.float32)


@pytest.mark.parametrize(
    "options",
    [
        {"method": "kernel-csa"},
        {"method": "ridge", "refit": True},
        {"method": "linear", "regulariser": "structure", "dim": 8, "epochs": 2, "learning_rate": 1e-3, "batch": 64},
    ],
    ids=lambda options: options["method"],
)
def test_a_fit_is_that_of_arrays_concatenated_by_hand(scenes_store: Store, copied: Store, options: Any) -> None:
    made = TrainingOptions(**options, device="cpu")
    done = align(JOINED, store=copied, options=made, name="a")
    assert done.layers == {"vision": "block.03+pooled", "text": "block.02+embed"}
    layers = sides(copied)
    vision, text = (by_hand(side) for side in layers)
    expected = fit(vision, text, options=made).aligner
    kept = load_aligner(copied.folder("aligners", "a"))
    raw = [np.concatenate(side, axis=1).astype(np.float32) for side in layers]
    assert kept.widths == (raw[0].shape[1], raw[1].shape[1])
    # Linear maps with little ridge enlarge what float32 rounds.
    np.testing.assert_allclose(kept.embed_images(raw[0]), expected.embed_images(vision), atol=2e-4)
    np.testing.assert_allclose(kept.embed_texts(raw[1]), expected.embed_texts(text), atol=2e-4)


def test_one_side_alone_may_be_several_layers(copied: Store) -> None:
    done = align("block.03+pooled,block.02", store=copied, method="kernel-csa", name="a", test=0.2)
    aligner = done.trained.aligner
    assert (aligner.vision.kind, aligner.text.kind) == ("concat", "kernel")
    assert done.test["image_retrieval_recall@10"] > 0.4


def test_evaluation_and_export_read_all_layers(copied: Store, tmp_path: Path) -> None:
    """Embeddings from the store, of the encoders themselves and of the exported heads are the same."""
    align(JOINED, store=copied, method="kernel-csa", name="a")
    suite = tmp_path / "small.yaml"
    suite.write_text(SUITE)
    found = evaluate(str(suite), store=copied, aligners=["a"])
    assert {result.task for result in found.results} == {"zeroshot_retrieval", "zeroshot_classification"}
    model = AlignedModel.load(copied, "a", device="cpu")
    sets = choose_sets(copied, dataset="scenes", split="test", vision=None, text=None)
    words = copied.samples("scenes", "test").texts(sets[1].manifest.captions)[:6]
    stored = load_aligner(copied.folder("aligners", "a")).embed_texts(
        np.asarray(layer_rows(sets[1], "block.02+embed", np.arange(6)))
    )
    np.testing.assert_allclose(model.encode_texts(words), stored, atol=5e-3)  # the store has float16
    assert model.encode_images([Image.new("RGB", (64, 64), "red")]).shape == (1, model.dim)
    answers = search(["a red circle"], store=copied, dataset="scenes", k=3, device="cpu")
    assert (len(answers.queries[0].hits), answers.encoder_passes) == (3, 0)
    export("a", tmp_path / "out", format="safetensors", store=copied)
    assert "side by side" in (Path(copied.url) / "aligners" / "a" / "README.md").read_text()
    again = load_aligner(tmp_path / "out").embed_texts(np.asarray(layer_rows(sets[1], "block.02+embed", np.arange(6))))
    np.testing.assert_array_equal(again, stored)
    with pytest.raises(StructureError, match=r"no single matrix.*concat.*clip-benchmark"):
        export("a", tmp_path / "clip", format="open-clip", store=copied)


@pytest.mark.parametrize(
    ("layers", "options", "words"),
    [
        ("block.03+poled,block.02", {}, r"'poled'.*mean pooled.*scenes-vit, of block\.03\+poled"),
        ("block.03,block.02+block.99", {}, r"block\.99"),
        ("block.03+block.03,block.02", {}, r"names a layer twice"),
        (JOINED, {"method": "pal"}, r"several layers.*several vectors a sample"),
        (
            JOINED,
            {"method": "linear", "regulariser": "none", "memory": 1000},
            r"one layer a side: several are read into memory",
        ),
    ],
)
def test_layers_that_cannot_be_joined(copied: Store, layers: str, options: Any, words: str) -> None:
    with pytest.raises(StructureError, match=words):
        align(layers, store=copied, **{"method": "ridge", **options})


def test_the_command_line_takes_them_and_grids_too(copied: Store, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--store", copied.url, "--json", "--quiet"]
    spaced = JOINED.replace("+", " + ")
    assert run(["align", "--layers", spaced, "--method", "ridge", *where]) == 0
    told = json.loads(capsys.readouterr().out)
    assert ",".join(told["layers"].values()) == JOINED
    assert "block.03_pooled+block.02_embed" in told["aligner"]
    assert axis("--grid", "layers=last,block.03+block.02,block.03+pooled:block.02") == (
        "layers",
        ["last", "block.03,block.02", "block.03+pooled,block.02"],
    )


def test_joined_rows_read_unit_layers_side_by_side() -> None:
    first, second = np.array([[3.0, 4.0], [0.0, 0.0]]), np.array([[0.0, 2e4, 0.0], [1.0, 0.0, 0.0]], np.float16)
    joined = JoinedRows([first, second])
    assert joined.shape == (2, 5)
    np.testing.assert_allclose(joined[:], [[0.6, 0.8, 0, 1, 0], [0, 0, 1, 0, 0]])
    np.testing.assert_allclose(joined[np.array([1])][:], [[0, 0, 1, 0, 0]])
    np.testing.assert_allclose(np.asarray(joined), joined[:])
    with pytest.raises(ValueError, match="1, 2"):
        JoinedRows([first, second[:1]])
