"""PAL, FreezeAlign and SMA from the store to the table, and an aligned model from images and strings."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from structure.pipeline import AlignedModel, align, evaluate, extract, rank_layers, search
from structure.pipeline.aligners.options import TrainingOptions, applicable
from structure.pipeline.datasets.loading import open_dataset
from structure.pipeline.evaluation.evaluated_aligner import EvaluatedAligner
from structure.pipeline.extraction.sample_index import open_rows
from structure.pipeline.extraction.stored_or_extracted import FeatureSource
from structure.pipeline.pairing.layer_choice import pick_layers
from structure.pipeline.pairing.pairs import choose_sets
from structure.pipeline.progress import Note
from structure.pipeline.run_context import RunContext
from structure.store import Store, open_store
from structure.store.column_reader import ColumnReader
from structure.store.errors import BadSampleError, DamageError, FingerprintError, StructureError
from structure.store.shuffled_batches import Shuffled

MODELS = ["bundled:scenes-vit", "bundled:scenes-text"]
LAYERS = "block.03,block.03"
GIVEN = {
    "dim": 16,
    "anchors": 24,
    "epochs": 6,
    "learning_rate": 1e-2,
    "regulariser": "none",
    "device": "cpu",
    "pool_temperature": 0.1,
}
SUITE = """
name: few
version: 1
about: Two small tasks.
defaults: {dataset: "scenes:40", split: test, prompts: plain}
tasks:
  - {label: colour, kind: zeroshot_classification, metric: acc1}
  - {kind: zeroshot_retrieval, metric: image_retrieval_recall@10, prompts: null}
  - {kind: segmentation, metric: miou}
"""


def options_of(method: str, **changes: object) -> TrainingOptions:
    """What was given of the options that the method has, with changes."""
    return TrainingOptions(**applicable({"method": method, **GIVEN})).changed(**changes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Tokens, views and all captions of 64 scenes, and an aligner of each method."""
    store = open_store(tmp_path_factory.mktemp("tokens") / "store")
    extract(MODELS, "scenes:64", store=store, tokens=("block.03",), captions="all", layers=("block.0[23]",))
    extract(MODELS[0], "scenes:64", store=store, views=2, layers=("block.0[23]",))
    for method in ("pal", "freezealign", "sma", "linear"):
        options = options_of(method)
        align(LAYERS, store=store, options=options, name=method, test=0.2)
    return store


@pytest.mark.parametrize("name", ["pal", "freezealign", "sma", "linear"])
class TestEveryAligner:
    def test_evaluates_from_cached_features(self, trained: Store, name: str, tmp_path: Path) -> None:
        suite = tmp_path / "few.yaml"
        suite.write_text(SUITE)
        first = evaluate(str(suite), store=trained, aligners=[name])
        assert {result.task for result in first.results} == {
            "zeroshot_classification",
            "zeroshot_retrieval",
            "segmentation",
        }
        assert all(np.isfinite(result.value) for result in first.results)
        again = evaluate(str(suite), store=trained, aligners=[name])
        assert again.encoder_passes == 0
        assert [result.value for result in again.results] == [result.value for result in first.results]

    def test_search_scores_as_the_aligner_does(self, trained: Store, name: str, tmp_path: Path) -> None:
        """Of tokens, too: the images' order is that of the aligner's own similarity to the words."""
        shutil.copytree(trained.url, tmp_path / "store")
        store = open_store(tmp_path / "store")
        found = search(["a red circle"], store=store, aligner=name, split="train", k=5, device="cpu").queries[0].hits
        model = AlignedModel.load(store, name, device="cpu")
        scenes = open_dataset("scenes:64", split="train", data_root=".")
        images = model.encode_images([scenes.image(number) for number in range(64)])
        scores = model.similarity(images, model.encode_texts(["a red circle"]))[:, 0]
        assert [hit.score for hit in found] == pytest.approx(np.sort(scores)[::-1][:5], abs=3e-3)
        for hit in found:
            assert hit.score == pytest.approx(scores[int(hit.id.split("-")[1])], abs=3e-3)

    def test_an_aligned_model_gives_the_cached_numbers(self, trained: Store, name: str) -> None:
        model = AlignedModel.load(trained, name, device="cpu")
        dataset = open_dataset("scenes:64", split=None, data_root="data")
        pictures = [dataset.image(index) for index in range(5)]
        texts = [dataset.item(index).captions[0] for index in range(5)]
        images, words = model.encode_images(pictures, batch_size=3), model.encode_texts(texts)
        assert images.shape == words.shape == (5, model.dim)
        subject = EvaluatedAligner.load(trained, name, device="cpu")
        rows = open_rows(RunContext.of(trained), "scenes:64", split=None)
        source = FeatureSource(RunContext.of(trained, device="cpu"))
        cached = subject.images(source, rows).whole()[:5]
        np.testing.assert_allclose(images, cached, atol=5e-3)
        assert (images * cached).sum(axis=1).min() > 0.9999
        of_text = rows.samples.item_of_caption(None)
        first = np.searchsorted(of_text, np.arange(5))
        np.testing.assert_allclose(words, subject.texts(source, rows, captions=None).whole()[first], atol=5e-3)
        assert source.passes == 0
        np.testing.assert_allclose(model.similarity(images, words), images @ words.T, atol=1e-6)
        assert AlignedModel.load(trained.folder("aligners", name)).dim == model.dim


def test_what_each_aligner_records(trained: Store) -> None:
    subject = EvaluatedAligner.load(trained, "pal", device="cpu")
    assert subject.aligner.takes_tokens
    assert subject.aligner.metadata["test_pairs"] == 16
    assert subject.layers == {"vision": "block.03", "text": "block.03"}
    record = EvaluatedAligner.load(trained, "sma", device="cpu").aligner.metadata
    assert "views-2" not in record["encoders"]["vision"]["name"]
    assert record["options"]["information"] == "flqmi"


def test_sma_says_what_its_sets_are(trained: Store) -> None:
    notes: list[object] = []
    options = options_of("sma", epochs=1)
    align(LAYERS, store=trained, options=options, name="again", on_event=notes.append)
    told = [note.text for note in notes if isinstance(note, Note)]
    assert any("2 to 2 views" in text and "captions a sample" in text for text in told)
    align(LAYERS, store=trained, options=options, name="plain", vision="scenes-vit", on_event=notes.append)
    assert any("1 to 1 views" in note.text for note in notes if isinstance(note, Note))
    ranked = rank_layers(store=trained, k=5, calibrate=0)  # of the plain images
    done = align("auto", store=trained, options=options, name="auto", on_event=notes.append)
    assert tuple(done.layers.values()) == ranked.best()
    assert "2 to 2 views" in [note.text for note in notes if isinstance(note, Note) and "views" in note.text][-1]


def test_first_captions_beside_all(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    extract(MODELS, "scenes:64", store=store, layers=("block.03",))
    extract(MODELS[1], "scenes:64", store=store, layers=("block.03",), captions="all")
    names = {features.manifest.encoder: features for features in store.feature_sets(split="train")}
    assert {"scenes-text", "scenes-text.captions-all"} <= set(names)
    for method, several in (("linear", ""), ("sma", ".captions-all")):
        options = options_of(method, epochs=1)
        facts = align(LAYERS, store=store, options=options, name=method).trained.aligner.metadata
        assert facts["pairs"] + facts["validation_pairs"] == 64
        found = EvaluatedAligner.load(store, method, device="cpu").aligner.metadata["fingerprints"]["text"]
        assert found == names[f"scenes-text{several}"].fingerprint


def test_sets_that_do_not_fit_are_refused(trained: Store) -> None:
    options = options_of("sma", epochs=1)
    notes: list[object] = []
    with pytest.raises(
        StructureError, match=r"take ([\d,]+) bytes; --memory allows 9,999\. .*--set captions=1"
    ) as told:
        align(LAYERS, store=trained, options=options, memory=9_999)
    single = options.changed(views=1, captions=1)
    plain = [one for one in trained.feature_sets(split="train") if one.manifest.views == 1]
    width = sum(one.manifest.column("block.03").vector_bytes for one in plain)
    assert int(str(told.value).split(" bytes")[0].split()[-1].replace(",", "")) > 64 * width
    align(LAYERS, store=trained, options=single, memory=2 * 64 * width, name="single", on_event=notes.append)
    assert any("1 to 1 views and 1 to 1 captions" in note.text for note in notes if isinstance(note, Note))


def test_tokens_in_bounded_memory_give_the_same_weights(trained: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shuffled.__init__, "__kwdefaults__", {**Shuffled.__init__.__kwdefaults__, "pool": 1 << 16})
    options = options_of("pal", batch=8, epochs=2)
    whole = align(LAYERS, store=trained, options=options, name="whole")
    notes: list[object] = []
    windows = align(LAYERS, store=trained, options=options, name="few", memory=900_000, on_event=notes.append)
    assert any("read in windows" in note.text for note in notes if isinstance(note, Note))
    weights = [done.folder.read("aligner.safetensors") for done in (whole, windows)]
    assert weights[0] == weights[1]


def test_auto_takes_the_layers_whose_tokens_are_stored(trained: Store) -> None:
    sets = choose_sets(trained, dataset=None, split=None, vision=None, text=None)
    assert pick_layers(trained, *sets, "auto", tokens=True)[:2] == ("block.03", "block.03")  # no ranking is needed
    extract(MODELS, "scenes:64", store=trained, limit=24, tokens=("block.0[03]",), layers=("block.0[0123]",))
    here = {"dataset": "scenes", "split": "train.first24", "store": trained}
    ranking = rank_layers(**here, k=3, calibrate=5, repeats=0, forecast=False).ranking
    sets = choose_sets(trained, dataset="scenes", split="train.first24", vision=None, text=None)
    layers = [ranking[side]["layers"] for side in ("vision", "text")]
    scores = {
        (layers[0][i], layers[1][j]): score for i, row in enumerate(ranking["scores"]) for j, score in enumerate(row)
    }
    stored = {pair: score for pair, score in scores.items() if {"block.00", "block.03"} >= set(pair)}
    first, second, how = pick_layers(trained, *sets, "auto", tokens=True)
    assert stored[first, second] == max(stored.values())
    assert "of the layers whose tokens are stored" in how


def test_what_does_not_fit_is_told(trained: Store) -> None:
    options = options_of("pal")
    with pytest.raises(StructureError, match=r"no tokens of layer block\.02.*--tokens block\.02"):
        align("block.02,block.03", store=trained, options=options)
    with pytest.raises(StructureError, match=r"needs [\d,]+ bytes .* 1,000 are allowed\. Raise --memory"):
        align(LAYERS, store=trained, options=options, memory=1000)
    with pytest.raises(StructureError, match="--add joins one vector"):
        align(LAYERS, store=trained, options=options, add=["scenes:2"])
    with pytest.raises(StructureError, match=r"Unknown aligner 'pa'.*pal"):
        AlignedModel.load(trained, "pa")
    with pytest.raises(StructureError, match="name the aligner; it has: .*linear"):
        AlignedModel.load(trained.url)
    model = AlignedModel.load(trained, "linear", device="cpu")
    with pytest.raises(StructureError, match="Sample 1 is a int, not a PIL image"):
        model.encode_images([Image.new("RGB", (8, 8)), 5])
    with pytest.raises(StructureError, match="takes a list of strings"):
        model.encode_texts("a red square")
    assert model.encode_images([]).shape == (0, 16)
    modes = ("L", "RGBA", "P", "CMYK", "1")
    assert model.encode_images([Image.new(mode, (9, 5)) for mode in modes]).shape[0] == len(modes)
    with pytest.raises(BadSampleError, match="no agreed range. Scale them to 0 to 255"):
        model.encode_images([Image.new("I;16", (9, 5))])


def test_constant_tokens_are_told(trained: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    read = ColumnReader.read

    def dead(self: ColumnReader, start: int, stop: int, into: np.ndarray, *given: Any) -> None:
        read(self, start, stop, into, *given)
        into[:] = 0

    monkeypatch.setattr(ColumnReader, "read", dead)
    for method in ("pal", "freezealign"):
        with pytest.raises(StructureError, match="vision features are constant: all vectors of 16 rows"):
            align(LAYERS, store=trained, options=options_of(method), name="dead")


def test_another_encoder_is_refused(trained: Store, tmp_path: Path) -> None:
    folder = tmp_path / "aligner"
    shutil.copytree(Path(trained.url, "aligners", "linear"), folder)
    record = re.sub(r'  "seal": [^\n]*\n', "", (folder / "aligner.json").read_text())
    weights = AlignedModel.load(folder).vision.record.identity["weights"]
    (folder / "aligner.json").write_text(record.replace(str(weights), "0" * len(str(weights))))
    with pytest.raises((FingerprintError, DamageError), match="not the one that the aligner was trained on"):
        AlignedModel.load(folder)


def test_a_selection_tries_tokens_and_sets_where_they_are_stored(trained: Store) -> None:
    asked = {"store": trained, "method": "auto", "epochs": 1, "folds": 2}
    done = align(LAYERS, **asked, candidates=("ridge", "pal", "freezealign", "sma"), name="selected")
    assert done.selection is not None
    scored = {row["method"] for row in done.selection["candidates"] if row["score"] is not None}
    assert scored == {"ridge", "pal", "freezealign", "sma"}
    tokens = align(LAYERS, **asked, candidates=("pal",), anchors=8, name="selected-pal")
    assert tokens.trained.aligner.takes_tokens
    assert align(LAYERS, **asked, candidates=("sma",), dim=8, name="selected-sma").trained.pairs
    plain = align("block.02,block.02", store=trained, method="auto", candidates=("ridge", "pal"), name="no-tokens")
    assert {row["method"] for row in plain.selection["candidates"]} == {"ridge"}
