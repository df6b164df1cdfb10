"""Which rows are unpaired: none with the content of a pair, and of two halves no sample on both sides."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from structure.pipeline import align, extract, import_features
from structure.pipeline.aligners import TrainingOptions, load_aligner
from structure.pipeline.datasets.loading import open_dataset
from structure.pipeline.pairing.pairs import choose_sets, pair_rows
from structure.pipeline.pairing.unpaired_rows import UnpairedSource
from structure.pipeline.progress import Note
from structure.store import Store, open_store
from structure.store.errors import StructureError

LAYERS = ("block.03", "block.03")
MODELS = ["bundled:scenes-vit", "bundled:scenes-text"]


def source(store: Store, names: list[str]) -> UnpairedSource:
    sets = choose_sets(store, dataset="scenes", split="train", vision=None, text=None)
    return UnpairedSource(store, names, sets, LAYERS)


def test_rows_of_the_pairs_are_left_out_and_told(scenes_store: Store) -> None:
    told: list[str] = []
    of = source(scenes_store, ["scenes/train"])
    paired = np.arange(70)
    vision, text = of.disjoint(
        paired, on_event=lambda event: told.append(event.text) if isinstance(event, Note) else None
    )
    samples = scenes_store.samples("scenes", "train")
    captions = np.array(samples.first_texts)
    for part in (vision[0], text[0]):
        assert part.rows.min() >= 70
    assert not set(captions[text[0].rows]) & set(samples.texts()[: len(samples.texts()) * 70 // 240])
    assert told
    assert "left out" in told[0]
    assert str(240 - len(vision[0].rows)) in told[0]
    with pytest.raises(StructureError, match=r"all 240 vision rows have the content of the 240 .*Take fewer --pairs"):
        of.disjoint(np.arange(240))


def test_unpaired_rows_that_exceed_the_memory_are_refused_unread(scenes_store: Store) -> None:
    of = source(scenes_store, ["scenes/train"])
    size = 240 * sum(one.manifest.column("block.03").vector_bytes for one in of.sets)
    of.require_memory(None, copies=7, halved=False)
    of.require_memory(size, copies=1, halved=False)
    of.require_memory(size, copies=2, halved=True)
    with pytest.raises(StructureError, match=rf"take about {7 * size:,} bytes .* allows {size:,}\. Raise --memory"):
        of.require_memory(size, copies=7, halved=False)
    with pytest.raises(StructureError, match="The rows of --unpaired scenes/train take"):
        align(
            ",".join(LAYERS),
            store=scenes_store,
            options=TrainingOptions(method="mini-vec2vec", device="cpu"),
            unpaired=["scenes/train"],
            memory=size,
            pairs=20,
        )


def test_halves_share_no_sample(scenes_store: Store) -> None:
    of = source(scenes_store, ["scenes/train", "scenes"])  # the same sets twice are one
    vision, text = of.disjoint(np.arange(20), halves=0)
    assert len(vision) == len(text) == 1
    assert not set(vision[0].rows.tolist()) & set(text[0].rows.tolist())
    whole = of.disjoint(np.arange(20))
    assert 0 <= len(vision[0].rows) - len(set(whole[0][0].rows) & set(whole[1][0].rows)) // 2 <= 120
    other, _ = of.disjoint(np.arange(20), halves=1)
    assert vision[0].rows.tolist() != other[0].rows.tolist()
    assert vision[0].rows.tolist() == of.disjoint(np.arange(20), halves=0)[0][0].rows.tolist()


def test_the_same_content_under_other_names_is_found(tmp_path: Path) -> None:
    """By the digest of the image, and by the text."""
    made, scenes = open_store(tmp_path / "store"), open_dataset("scenes:20", split="train", data_root=tmp_path)

    def write(name: str, numbers: list[int], captions: list[str]) -> str:
        folder = tmp_path / name
        folder.mkdir()
        lines = []
        for number, caption in zip(numbers, captions, strict=True):
            scenes.image(number).save(folder / f"{name}{number}.png")
            lines.append(json.dumps({"image": f"{name}{number}.png", "caption": caption}))
        (folder / "pairs.jsonl").write_text("\n".join(lines))
        extract(MODELS, f"pairs:{folder / 'pairs.jsonl'}", store=made)
        (dataset,) = {f.manifest.dataset for f in made.feature_sets()} - known
        known.add(dataset)
        return dataset

    known: set[str] = set()
    ours = write("ours", list(range(10)), [f"caption {number}" for number in range(10)])
    theirs = write("theirs", [0, 1, 12, 13], ["caption 2", "new", "caption 3", "caption 9"])
    sets = choose_sets(made, dataset=ours, split=None, vision=None, text=None)
    vision, text = UnpairedSource(made, [theirs], sets, LAYERS).disjoint(np.arange(8))
    assert vision[0].rows.tolist() == [2, 3]
    assert text[0].rows.tolist() == [1, 3]


@pytest.mark.parametrize("method", ["sotalign", "mini-vec2vec"])
def test_align_takes_the_rest_of_its_own_data(copied: Store, method: str) -> None:
    quick = {"sotalign": {"steps": 5, "batch": 16}, "mini-vec2vec": {"rounds": 2, "centres": 4, "refinements": 2}}
    options = TrainingOptions(method=method, **quick[method])
    pairs = 0 if method == "mini-vec2vec" else 5
    done = align(",".join(LAYERS), store=copied, options=options, pairs=pairs, test=0.2, unpaired=["scenes/train"])
    facts = load_aligner(done.folder).metadata
    assert facts["pairs"] == pairs
    assert facts["validation_pairs"] == 0
    assert done.test_pairs == 48
    counts = facts["unpaired"]
    assert 60 <= counts["vision"] <= 192 - pairs
    assert f"{pairs}pairs" in done.name
    with pytest.raises(StructureError, match=f"{method} matches unpaired images .* --unpaired DATASET/SPLIT"):
        align(",".join(LAYERS), store=copied, options=options)
    if method == "sotalign":
        with pytest.raises(StructureError, match="--pairs 0: sotalign learns .* or mini-vec2vec"):
            align(",".join(LAYERS), store=copied, options=options, pairs=0, unpaired=["scenes/train"])


def test_no_pair_of_validation_or_test_is_unpaired(scenes_store: Store) -> None:
    """Whatever the fraction, together they are all samples at most."""
    sets = choose_sets(scenes_store, dataset="scenes", split="train", vision=None, text=None)
    rows = pair_rows(scenes_store, *sets)
    held = rows.take(np.arange(200, 240))
    vision, _ = source(scenes_store, ["scenes/train"]).disjoint(np.concatenate([rows.items[:50], held.items]))
    assert vision[0].rows.max() < 200


def test_features_of_another_width_under_one_name_are_refused(tmp_path: Path) -> None:
    store, random = open_store(tmp_path / "store"), np.random.default_rng(0)
    for dataset, width in (("mine", 6), ("more", 7)):
        for model, modality in (("eye", "vision"), ("ear", "text")):
            values = random.standard_normal((40, width if model == "eye" else 5)).astype(np.float32)
            np.savez(tmp_path / "f.npz", layer=values, ids=np.array([f"{dataset}{row}" for row in range(40)]))
            import_features(tmp_path / "f.npz", model=model, modality=modality, dataset=dataset, store=store)
    with pytest.raises(StructureError, match=r"more/train/eye and mine/train/eye are of two .* 7 there, 6 here"):
        align("last", store=store, dataset="mine", unpaired=["more"], options=TrainingOptions(method="linear"))
