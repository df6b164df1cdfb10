from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from structure.pipeline.aligners import TrainingOptions, fit, load_aligner, method
from structure.pipeline.aligners.aligner import Aligner, unpack
from structure.pipeline.aligners.heads.closed_heads import RelativeHead, WeightedHead
from structure.pipeline.aligners.heads.kinds import HEADS, make_head
from structure.pipeline.aligners.options import applicable
from structure.pipeline.aligners.recall import pair_recall
from structure.pipeline.aligners.registry import ALIGNERS
from structure.pipeline.aligners.unpaired import Unpaired
from structure.store.errors import DamageError, StructureError

GIVEN = {"dim": 6, "epochs": 12, "learning_rate": 1e-2, "device": "cpu", "anchors": 64, "nearest": 20, "steps": 20}


def options_of(method, **changes):
    """What was given of the options that the method has, with changes."""
    return TrainingOptions(**applicable({"method": method, **GIVEN})).changed(**changes)


ROWS = [name for name in ALIGNERS if method(name).reads(TrainingOptions(method=name)) == "rows"]
"""The methods that take one vector a sample."""

MATCHING = ("sotalign", "wasserstein-procrustes", "mini-vec2vec")
MAP_NOTHING = ("mean-shift", "identity")


@pytest.fixture(scope="session")
def fitted(world):
    """Every such method on the same pairs; those that map nothing need equal widths and get them."""
    vision, text = world(200)
    free = world(600, seed=3)
    extras = Unpaired(free[0][:300], free[1][300:])
    return {
        name: fit(
            vision[:, :18] if name in MAP_NOTHING else vision,
            text,
            options=options_of(name),
            extras=extras if name in MATCHING else None,
        )
        for name in ROWS
    }


@pytest.mark.parametrize("name", ROWS)
class TestEveryMethod:
    """What every aligner promises."""

    def rows(self, name, world):
        vision, text = world(50, seed=7)
        return vision[:, :18] if name in MAP_NOTHING else vision, text

    def test_embeds_unit_rows_in_the_kind_given(self, name, fitted, world):
        aligner = fitted[name].aligner
        vision, text = self.rows(name, world)
        images, texts = aligner.embed_images(vision), aligner.embed_texts(text)
        assert isinstance(images, np.ndarray)
        assert images.dtype == texts.dtype == np.float32
        assert images.shape == texts.shape == (50, aligner.dim)
        np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, atol=1e-5)
        tensors = aligner.embed_images(torch.from_numpy(vision))
        assert isinstance(tensors, torch.Tensor)
        np.testing.assert_array_equal(tensors.numpy(), images)
        np.testing.assert_allclose(aligner.embed_images(vision.astype(np.float16)), images, atol=2e-2)
        assert aligner.similarity(images, texts).shape == (50, 50)

    def test_saves_and_loads(self, name, fitted, world, tmp_path):
        aligner = fitted[name].aligner.describe(layers={"vision": "block.03", "text": "block.05"})
        assert aligner.save(tmp_path / "a").keys("") == ["aligner.json", "aligner.safetensors"]
        back = load_aligner(tmp_path / "a")
        vision, text = self.rows(name, world)
        np.testing.assert_array_equal(back.embed_images(vision), aligner.embed_images(vision))
        np.testing.assert_array_equal(back.embed_texts(text), aligner.embed_texts(text))
        assert back.metadata == json.loads(json.dumps(aligner.metadata))
        assert (back.method, back.widths, back.dim) == (name, aligner.widths, aligner.dim)
        assert back.pack() == aligner.pack()

    def test_refuses_other_features(self, name, fitted, world):
        aligner = fitted[name].aligner
        with pytest.raises(StructureError, match=rf"7 wide.*made for {aligner.widths[0]}"):
            aligner.embed_images(np.ones((3, 7)))
        vision, _ = self.rows(name, world)
        vision = vision.copy()
        vision[11, 2] = np.inf
        with pytest.raises(StructureError, match="Row 11 of the vision"):
            aligner.embed_images(vision)
        if name not in MATCHING:
            with pytest.raises(StructureError, match="training needs at least 8|needs at least 8"):
                fit(vision[:5], vision[:5], options=options_of(name))

    def test_records_what_it_was_made_from(self, name, fitted):
        trained = fitted[name]
        assert trained.pairs == trained.aligner.metadata["pairs"] == 180
        assert trained.aligner.metadata["validation_pairs"] == 20
        assert {"image_retrieval_recall@1", "text_retrieval_recall@1"} <= set(trained.metrics)
        assert "torch" in trained.aligner.metadata["versions"]

    def test_beats_chance_where_it_fits_anything(self, name, fitted, world):
        if name in (*MAP_NOTHING, "sail", "gated", "mini-vec2vec"):
            pytest.skip("the control fits nothing; the gated head needs more than a few steps; no pair tells how")
        vision, text = self.rows(name, world)
        aligner = fitted[name].aligner
        recall = pair_recall(
            torch.from_numpy(aligner.embed_images(vision)), torch.from_numpy(aligner.embed_texts(text))
        )
        assert min(recall) > 0.1  # chance is 0.02


def test_closed_forms_hold_out_the_pairs_that_training_does(fitted):
    assert {trained.pairs for trained in fitted.values()} == {180}


def test_procrustes_finds_the_rotation():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 8)).astype("f4")
    rotation = np.linalg.qr(rng.normal(size=(8, 8)))[0].astype("f4")
    aligner = fit(x, x @ rotation + 3, options=options_of("procrustes", dim=8)).aligner
    np.testing.assert_allclose(aligner.embed_images(x), aligner.embed_texts(x @ rotation + 3), atol=1e-4)


def test_ridge_is_ridge(world):
    from sklearn.linear_model import Ridge

    from structure.pipeline.aligners.csa_solver import moments
    from structure.pipeline.aligners.linear_maps import ridge

    vision, text = (side.astype(np.float64) for side in world(150))
    images, _ = ridge(moments([(vision, text)]), share=0.3)
    penalty = 0.3 * 150 * vision.var(axis=0).mean()
    oracle = Ridge(alpha=penalty).fit(vision, text)
    ours = images(torch.from_numpy(vision).float()).detach().numpy()
    np.testing.assert_allclose(ours, oracle.predict(vision) - text.mean(0), atol=1e-4)


def test_csa_refinement_whitens_and_lowers_r_s(world):
    from structure.pipeline.aligners.csa_refinement import raised, refine
    from structure.pipeline.aligners.csa_solver import fit_csa_moments, moments
    from structure.pipeline.aligners.losses.structure_loss import structure_loss
    from structure.pipeline.aligners.training_data import TrainingData
    from structure.pipeline.progress import silent

    vision, text = world(200)
    gathered = moments([(vision, text)])
    start = fit_csa_moments(gathered, dim=6)
    (w_x, w_y), correlations = refine(
        start, gathered, TrainingData(vision, text), options=options_of("csa"), on_event=silent
    )
    torch.testing.assert_close(w_x.T @ gathered.xx @ w_x, torch.eye(6, dtype=torch.float64), atol=1e-8, rtol=0)
    torch.testing.assert_close(w_y.T @ gathered.yy @ w_y, torch.eye(6, dtype=torch.float64), atol=1e-8, rtol=0)
    assert correlations.shape == (6,)
    tempered = fit_csa_moments(gathered, dim=6, ridge=0.5)
    (mild, _), _ = refine(
        tempered, gathered, TrainingData(vision, text), options=options_of("csa", weight=0.0), ridge=0.5
    )
    torch.testing.assert_close(mild.T @ raised(gathered.xx, 0.5) @ mild, torch.eye(6, dtype=torch.float64))
    # Whitening keeps the ridge: the refined map is near the closed form, up to a rotation of both sides.
    spans = [by @ by.T for by in (mild, tempered.projection_x)]
    assert torch.linalg.matrix_norm(spans[0] - spans[1]) < 0.1 * torch.linalg.matrix_norm(spans[1])
    centred = torch.from_numpy(vision).double() - gathered.mean_x
    before, after = (structure_loss(vision, centred @ by, temperature=0.2).item() for by in (start.projection_x, w_x))
    assert after < before


def test_products_that_a_method_does_not_need_are_not_made(world):
    """The others have the same bits; fits that share what they have in common get all."""
    from structure.pipeline.aligners.csa_solver import moments_of, pair_moments
    from structure.pipeline.aligners.training_data import TrainingData

    vision, text = (np.tile(side, (50, 1)) for side in world(200))  # more than one chunk
    every, some = pair_moments(vision, text), moments_of(TrainingData(vision, text), needed=("xy",))
    for name in ("mean_x", "mean_y", "xy"):
        assert torch.equal(getattr(every, name), getattr(some, name))
    assert (len(every.xx), len(some.xx), len(some.yy)) == (24, 0, 0)
    shared = TrainingData(vision, text, shared={})
    assert torch.equal(moments_of(shared, needed=("xy",)).xx, moments_of(shared).xx)


def test_csa_is_refined_on_some_pairs_where_there_are_many(world):
    """R_S sees some pairs, the closed form and the whitening all; where there are not more, nothing changes."""
    from structure.pipeline.aligners.csa_solver import moments

    vision, text = world(200)
    notes = []
    fits = {
        most: fit(
            vision,
            text,
            options=options_of("csa", structure_pairs=most),
            validation=(vision[:9], text[:9]),
            on_event=lambda event: notes.append(str(event)),
        )
        for most in (None, 200, 64)
    }
    heads = {most: fitted.aligner.vision.weight.detach().double() for most, fitted in fits.items()}
    assert torch.equal(heads[None], heads[200])
    assert not torch.equal(heads[None], heads[64])
    facts = {most: fitted.aligner.metadata for most, fitted in fits.items()}
    assert "structure_pairs" not in facts[200]
    assert facts[64]["structure_pairs"] == 64
    assert sum("on 64 of 200 pairs" in note for note in notes) == 1
    covariance = moments([(vision, text)]).xx
    covariance += facts[64]["ridge"] * covariance.diagonal().mean() * torch.eye(24, dtype=torch.float64)
    white = heads[64] @ covariance @ heads[64].T
    torch.testing.assert_close(white, torch.eye(6, dtype=torch.float64), atol=1e-5, rtol=0)


def test_weighted_csa_is_a_cosine(golden, world, tmp_path):
    """The cosine of the embeddings, which everything scores by, is the weighted similarity of the golden file."""
    file = np.load(golden / "csa.npz")
    n, dim = int(file["n_train"]), int(file["n_components"])
    options = options_of("csa", regulariser="none", ridge=0.0, dim=dim, weighted=True)
    x, y = (file[name].astype("f4") for name in ("X", "Y"))
    trained = fit(x[:n], y[:n], options=options, validation=(x[n:], y[n:]))
    aligner = load_aligner(trained.aligner.save(tmp_path))
    images, texts = aligner.embed_images(x[n:]), aligner.embed_texts(y[n:])
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, atol=1e-6)
    scores = images @ texts.T
    np.testing.assert_allclose(scores, file["test_weighted_cosine"], atol=2e-4)
    np.testing.assert_allclose(aligner.similarity(images, texts), scores, atol=1e-6)
    np.testing.assert_array_equal((scores > np.diag(scores)[:, None]).sum(1), file["rank_x_to_y_weighted"])
    np.testing.assert_array_equal((np.diag(scores)[:, None] < scores.T).sum(1), file["rank_y_to_x_weighted"])
    assert trained.metrics["text_retrieval_recall@1"] == np.mean(file["rank_x_to_y_weighted"] == 0)


def test_weighted_csa_after_the_regulariser(world):
    """Refined directions may correlate negatively: signs stay in the score."""
    vision, text = world(200)
    projection = torch.eye(24, 6, dtype=torch.float64), torch.eye(18, 6, dtype=torch.float64)
    rho = torch.tensor([0.9, -0.5, 0.0, 1.1, -1.0, 0.2], dtype=torch.float64)
    heads = [WeightedHead.of_map(by, torch.zeros(len(by)).double(), rho, place=n) for n, by in enumerate(projection)]
    aligner = Aligner(*heads, "csa")
    unit = [side[:9, :6] / np.linalg.norm(side[:9, :6], axis=1, keepdims=True) for side in (vision, text)]
    expected = (unit[0] * rho.clamp(-1, 1).numpy()) @ unit[1].T
    found = aligner.similarity(aligner.embed_images(vision[:9]), aligner.embed_texts(text[:9]))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_closed_forms_say_what_does_not_fit(world):
    vision, text = world(30)
    notes = []
    options = options_of("csa", regulariser="none", dim=512)
    with pytest.raises(StructureError, match="20 training pairs"):
        fit(np.repeat(vision, 2, 1), np.repeat(text, 2, 1), options=options.changed(dim=30))
    with pytest.raises(StructureError, match=r"asks for more than the 13"):
        fit(vision[:20], text[:20], options=options_of("procrustes", dim=15))
    fit(*world(400), options=options, on_event=notes.append)
    assert any("18 dimensions, not 512" in note.text for note in notes)
    with pytest.raises(StructureError, match="24 and 18"):
        fit(vision, text, options=options_of("mean-shift"))
    with pytest.raises(StructureError, match="Did you mean procrustes"):
        fit(vision, text, options=options_of("procrustean"))


def test_damage_is_told_from_absence(fitted, tmp_path):
    folder = tmp_path / "a"
    fitted["linear"].aligner.save(folder)
    with pytest.raises(StructureError, match="no aligner in"):
        load_aligner(tmp_path / "b")
    weights = folder / "aligner.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(DamageError, match="SHA-256"):
        load_aligner(folder)
    weights.write_bytes(good)
    record = folder / "aligner.json"
    text = record.read_text()
    record.write_text(text[: len(text) // 2])
    with pytest.raises(DamageError, match="not JSON"):
        load_aligner(folder)
    record.write_text(text.replace('"dim": 6', '"dim": 7'))
    with pytest.raises(DamageError, match="not what was written"):
        load_aligner(folder)
    text = re.sub(r'  "seal": [^\n]*\n', "", text)  # of an earlier version
    record.write_text('{"format": "other"}')
    with pytest.raises(StructureError, match="not the record of an aligner"):
        load_aligner(folder)
    record.write_text(text.replace('"version": 1', '"version": 2'))
    with pytest.raises(StructureError, match="version 2"):
        load_aligner(folder)
    record.write_text(text.replace('"dim": 6', '"dim": 7'))
    with pytest.raises(DamageError, match="cannot be read"):
        load_aligner(folder)
    record.write_text(text)
    assert load_aligner(record).dim == 6


def test_a_failed_save_leaves_the_old_aligner(fitted, tmp_path, monkeypatch):
    folder = tmp_path / "a"
    fitted["linear"].aligner.save(folder)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StructureError, match="is full"):
        fitted["mlp"].aligner.save(folder)
    monkeypatch.undo()
    assert load_aligner(folder).method == "linear"
    assert len(list(folder.iterdir())) == 2


def test_heads_name_what_they_do_not_take():
    with pytest.raises(StructureError, match="Did you mean linear"):
        make_head("liner", 3, 2)
    with pytest.raises(StructureError, match="does not take"):
        make_head("linear", 3, 2, hidden=4)
    assert set(HEADS) >= {"linear", "mlp", "lowrank"}


def test_low_rank_head_is_its_formula():
    head = make_head("lowrank", 5, 3, rank=2, dropout=0.5, gate=0.25)
    head.reset(torch.Generator().manual_seed(0))
    torch.testing.assert_close(head.projection @ head.projection.T, torch.eye(3), atol=1e-5, rtol=0)
    x = torch.randn(4, 5)
    head.weight2.data.normal_()
    residual = torch.nn.functional.gelu(x @ head.weight1.T) @ head.weight2.T
    torch.testing.assert_close(head.eval()(x), x @ head.projection.T + 0.25 * residual)
    assert not torch.equal(head.train()(x), head.eval()(x))


def test_unpack_needs_no_folder(fitted):
    aligner = fitted["linear"].aligner
    back = unpack(aligner.pack(), source="memory")
    assert isinstance(back, Aligner)
    assert back.metadata == aligner.metadata


def test_the_package_names_methods_without_torch():
    import subprocess
    import sys

    code = "import sys, structure.pipeline.aligners as a; list(a.ALIGNERS); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_asif_takes_some_pairs_as_anchors_and_its_rows_in_tiles(world, monkeypatch):
    vision, text = world(200)
    notes = []
    given = {"validation": (vision[:9], text[:9]), "on_event": lambda event: notes.append(str(event))}
    every = fit(vision, text, options=options_of("asif"), **given).aligner
    assert every.dim == 200
    assert not any("as anchors" in note for note in notes)
    monkeypatch.setattr("structure.pipeline.aligners.heads.closed_heads.AT_ONCE", 7 * 200)
    whole = every.embed_images(vision)
    np.testing.assert_allclose(whole, np.concatenate([every.embed_images(row[None]) for row in vision]), atol=1e-6)
    some = fit(vision, text, options=options_of("asif", most_anchors=50), **given).aligner
    assert any("asif has 50 of 200 training pairs as anchors" in note for note in notes)
    assert (some.dim, some.metadata["anchors"]) == (50, 50)
    ours, theirs = some.vision.anchors.numpy(), some.text.anchors.numpy()
    rows = [int(np.flatnonzero((vision == row).all(axis=1))[0]) for row in ours]
    assert rows == sorted(set(rows))
    np.testing.assert_array_equal(theirs, text[rows].astype(np.float32))


def test_asif_keeps_a_row_that_is_like_no_anchor_and_small_cosines():
    head = RelativeHead(4, 3, keep=2, exponent=8)
    head.anchors.copy_(torch.eye(4)[:3])
    like = torch.tensor([[0.5, 0.25, 0.0, 1.0], [1e-6, 5e-7, 0.0, 1.0], [-0.1, -0.2, -0.3, 1.0], [0.0, 0.0, 0.0, 0.0]])
    expected = torch.tensor([[1, 0.5**8, 0], [1, 0.5**8, 0], [1, 0, 0], [0, 0, 0]])
    torch.testing.assert_close(F.normalize(head(like), dim=1), F.normalize(expected, dim=1))
