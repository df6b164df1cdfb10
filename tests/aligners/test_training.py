from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from structure.pipeline.aligners.aligner_method import fit as train
from structure.pipeline.aligners.batches import PairsInMemory
from structure.pipeline.aligners.held_out import held_out
from structure.pipeline.aligners.losses.contrastive import info_nce
from structure.pipeline.aligners.objectives import make_objective
from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.aligners.recall import pair_recall
from structure.pipeline.aligners.training import train_source
from structure.pipeline.progress import Note, Progress
from structure.store.errors import StructureError

QUICK = TrainingOptions(dim=8, epochs=25, learning_rate=1e-2, device="cpu")


@pytest.mark.parametrize("method", ["linear", "mlp", "lowrank", "gated"])
def test_every_head_learns_held_out_pairs(world, method):
    vision, text = world(300)
    trained = train(vision, text, options=QUICK.changed(method=method, epochs=60))
    images, texts = (
        trained.aligner.embed_images(world(100, seed=1)[0]),
        trained.aligner.embed_texts(world(100, seed=1)[1]),
    )
    assert min(pair_recall(torch.from_numpy(images), torch.from_numpy(texts))) > 0.2  # chance is 0.01
    assert trained.pairs == 270
    assert trained.validation_pairs == 30
    assert trained.aligner.metadata["options"]["method"] == method


def test_history_is_flat_numbers_and_best_weights_are_restored(world):
    vision, text = world(200)
    events = []
    trained = train(
        vision, text, options=QUICK.changed(patience=5, epochs=80, learning_rate=0.1), on_event=events.append
    )
    assert trained.epochs < 80
    assert trained.epochs == trained.best_epoch + 5 == len(trained.history)
    assert all(
        isinstance(value, int | float) and math.isfinite(value) for row in trained.history for value in row.values()
    )
    best = min(trained.history, key=lambda row: row["val_contrastive"])
    assert best["epoch"] == trained.best_epoch
    assert trained.metrics["contrastive"] == best["val_contrastive"]
    _, out = held_out(200, share=0.1, seed=42)
    recall = pair_recall(
        torch.from_numpy(trained.aligner.embed_images(vision[out])),
        torch.from_numpy(trained.aligner.embed_texts(text[out])),
    )
    assert recall == (trained.metrics["image_retrieval_recall@1"], trained.metrics["text_retrieval_recall@1"])
    held = info_nce(trained.aligner.embed_images(vision[out]), trained.aligner.embed_texts(text[out]))
    assert held.item() == pytest.approx(trained.metrics["contrastive"], rel=1e-4)
    assert trained.history[-1]["val_contrastive"] != pytest.approx(trained.metrics["contrastive"], rel=1e-3)
    assert sum(isinstance(event, Progress) for event in events) == trained.epochs
    assert any(isinstance(event, Note) and "stopped" in event.text for event in events)


@pytest.mark.parametrize("method", ["linear", "lowrank"])
def test_same_seed_same_weights_and_no_global_state(world, method):
    vision, text = world(120)
    options = QUICK.changed(method=method, epochs=6, batch=40, learning_rate=None)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    one, two = (train(vision, text, options=options) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert one.rate == two.rate
    assert one.curve == two.curve
    for side in ("vision", "text"):
        for name, value in getattr(one.aligner, side).state_dict().items():
            assert torch.equal(value, getattr(two.aligner, side).state_dict()[name])
    other = train(vision, text, options=options.changed(seed=1))
    assert not torch.equal(other.aligner.vision.state_dict().popitem()[1], one.aligner.vision.state_dict().popitem()[1])


def test_control_shares_rate_batches_and_start(world):
    vision, text = world(150)
    with_r = train(vision, text, options=QUICK.changed(epochs=1, batch=50, warm_up=0.0))
    without = train(vision, text, options=QUICK.changed(epochs=1, batch=50, warm_up=0.0, regulariser="none"))
    assert with_r.rate == without.rate
    assert without.history[0]["R_S_vision"] == 0 < with_r.history[0]["R_S_vision"]
    # The first batch is the same and R_S does not enter the contrastive part of its loss.
    first = [
        train(vision, text, options=QUICK.changed(epochs=1, batch=150, regulariser=name))
        for name in ("structure", "none")
    ]
    assert first[0].history[0]["contrastive"] == first[1].history[0]["contrastive"]


def test_regulariser_keeps_the_structure(world):
    vision, text = world(300)
    options = QUICK.changed(epochs=80, warm_up=0.0)
    kept, free = (train(vision, text, options=options.changed(regulariser=name)) for name in ("structure", "none"))
    last = [run.history[-1]["val_R_S_vision"] + run.history[-1]["val_R_S_text"] for run in (kept, free)]
    assert last[0] < 0.7 * last[1]


def test_whole_batch_run_equals_the_streamed_one(world):
    """The saved frozen side changes nothing: a source that does not say it is whole gives the same weights."""
    vision, text = world(90)
    held = (vision[:20], text[:20])
    whole = PairsInMemory(vision[20:], text[20:], batch=100)

    class Streamed(PairsInMemory):
        def epoch(self, seed):
            yield self._vision.half().float() * 0 + self._vision, self._text

    streamed = Streamed(vision[20:], text[20:], batch=100)
    streamed.whole = False
    one, two = (train_source(source, validation=held, options=QUICK) for source in (whole, streamed))
    torch.testing.assert_close(one.aligner.vision.weight, two.aligner.vision.weight, rtol=1e-4, atol=1e-5)


def test_warm_up_and_cosine_in_the_history(world):
    vision, text = world(100)
    held = world(20, seed=5)
    published = train(
        vision, text, options=TrainingOptions.preset("paper", dim=4, epochs=60, learning_rate=1e-3), validation=held
    )
    weights = [row["weight"] for row in published.history]
    assert weights == pytest.approx([10 * step / 1000 for step in range(60)])
    rates = [row["rate"] for row in published.history]
    assert rates == pytest.approx([1e-3 * (1 + math.cos(math.pi * step / 50)) / 2 for step in range(60)])
    assert rates[59] > rates[50]
    share = train(vision, text, options=QUICK.changed(epochs=20, warm_up=0.5, patience=50), validation=held)
    assert [row["weight"] for row in share.history][:11] == pytest.approx(list(range(11)))
    assert share.history[-1]["weight"] == 10
    assert share.history[-1]["rate"] < 1e-3


def test_selection_rules(world):
    vision, text = world(150)
    options = QUICK.changed(epochs=30, patience=100, learning_rate=0.05)
    by = {rule: train(vision, text, options=options.changed(selection=rule)) for rule in ("retrieval", "loss")}
    history = by["retrieval"].history
    recall = [row["val_image_retrieval_recall@1"] + row["val_text_retrieval_recall@1"] for row in history]
    assert recall[by["retrieval"].best_epoch - 1] == max(recall)
    losses = [row["val_loss"] for row in by["loss"].history]
    assert losses[by["loss"].best_epoch - 1] == min(losses)


def test_presets_are_the_two_published_behaviours():
    paper, released = (TrainingOptions.preset(name, method="lowrank") for name in ("paper", "released"))
    for preset in (paper, released):
        assert (preset.epochs, preset.patience, preset.batch, preset.seed) == (1000, 200, 4096, 42)
        assert (preset.warm_up_steps, preset.cosine, preset.selection) == (1000, "published", "loss")
        assert (preset.weight, preset.temperature, preset.levels, preset.clip) == (10, 0.05, 1, 1.0)
    assert (paper.divergence, paper.combine, paper.clip_scope) == ("js", "sum", "global")
    assert (released.divergence, released.combine, released.clip_scope, released.gate) == (
        "released",
        "mean",
        "tensor",
        0,
    )
    with pytest.raises(StructureError, match="Did you mean released"):
        TrainingOptions.preset("relased")


def test_total_loss_follows_the_formula(world):
    from structure.pipeline.aligners.losses.structure_loss import structure_loss

    vision, text = (torch.from_numpy(side) for side in world(40))
    for name, factor in (("paper", 1.0), ("released", 0.5)):
        options = TrainingOptions.preset(name, dim=5)
        objective = make_objective((24, 18), options)
        losses, images, texts = objective.losses(objective.batch(vision, text), structure=True)
        expected = info_nce(images, texts, temperature=0.05) + 3.0 * factor * (
            structure_loss(vision, images, divergence=options.divergence)
            + structure_loss(text, texts, divergence=options.divergence)
        )
        torch.testing.assert_close(objective.total(losses, weight=3.0), expected)


def test_gate_opens_outside_released_and_stays_shut_inside(world):
    vision, text = world(120)
    open_run = train(vision, text, options=QUICK.changed(method="lowrank"))
    state = open_run.aligner.vision.state_dict()
    assert state["weight2"].abs().max() > 0
    assert torch.sigmoid(state["gate"]) != 0.5
    shut = TrainingOptions.preset("released", method="lowrank", dim=8, epochs=25, learning_rate=1e-2)
    run = train(vision, text, options=shut)
    state = run.aligner.vision.state_dict()
    assert torch.sigmoid(state["gate"]) == 0
    assert state["weight2"].abs().max() == 0
    rows = torch.from_numpy(vision[:5])
    torch.testing.assert_close(run.aligner.vision(rows), rows @ state["projection"].T)


def test_sail_is_chosen_by_a_loss_that_its_bias_does_not_move(world):
    vision, text = world(64)
    options = QUICK.changed(method="sail", regulariser="none", epochs=12, learning_rate=1e-3)
    trained = train(vision, text, options=options)
    best = min(trained.history, key=lambda row: row["val_contrastive"])
    assert trained.best_epoch == best["epoch"]
    _, out = held_out(64, share=0.1, seed=42)
    images, texts = trained.aligner.embed_images(vision[out]), trained.aligner.embed_texts(text[out])
    logits, target = trained.aligner.metadata["scale"] * torch.from_numpy(images @ texts.T), torch.arange(len(out))
    expected = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    assert trained.metrics["contrastive"] == pytest.approx(float(expected), rel=1e-4)
    assert trained.metrics["loss"] != pytest.approx(float(expected), rel=0.1)  # the sigmoid loss, and R_S besides


def test_the_head_of_sail_sees_rows_whatever_their_length(world):
    objective = make_objective((24, 18), TrainingOptions(method="sail", dim=5))
    assert [head.settings["hidden"] for head in (objective.vision, objective.text)] == [8 * 24, 8 * 18]
    rows = torch.from_numpy(world(10)[0])
    torch.testing.assert_close(objective.vision(7 * rows + 3), objective.vision(rows), rtol=1e-3, atol=1e-4)
    plain = make_objective((24, 18), TrainingOptions(method="gated", dim=5)).vision
    assert not torch.allclose(plain(7 * rows + 3), plain(rows), rtol=0.1)


def test_learnt_scale_moves_and_fixed_does_not(world):
    vision, text = world(100)
    moved = train(vision, text, options=QUICK.changed(learnable_scale=True))
    fixed = train(vision, text, options=QUICK)
    assert fixed.aligner.metadata["scale"] == pytest.approx(20)
    assert moved.aligner.metadata["scale"] != pytest.approx(20)


@pytest.mark.parametrize("rows", [8, 17, 100, 1000])
def test_held_out_pairs(rows):
    chosen, out = held_out(rows, share=0.1, seed=3)
    assert sorted([*chosen, *out]) == list(range(rows))
    assert len(out) == min(max(round(rows / 10), 16), rows // 3)
    np.testing.assert_array_equal(held_out(rows, share=0.1, seed=3)[1], out)
    assert not np.array_equal(held_out(rows, share=0.1, seed=4)[1], out)


def test_groups_are_never_on_both_sides():
    groups = np.repeat(np.arange(40), 5)[np.random.default_rng(0).permutation(200)]
    chosen, out = held_out(200, share=0.2, seed=0, groups=groups)
    assert not set(groups[chosen]) & set(groups[out])
    assert len(out) == 40
    with pytest.raises(StructureError, match="one sample"):
        held_out(20, share=0.1, seed=0, groups=np.zeros(20))


def test_batches_keep_the_short_one_and_repeat_for_a_seed(world):
    vision, text = world(103)
    source = PairsInMemory(vision, text, batch=25)
    batches = list(source.epoch(7))
    assert [len(batch[0]) for batch in batches] == [25, 25, 25, 25, 3]
    rows = torch.cat([batch[0] for batch in batches])
    assert torch.equal(rows[rows[:, 0].argsort()], torch.from_numpy(vision[vision[:, 0].argsort()]))
    assert torch.equal(torch.cat([batch[0] for batch in source.epoch(7)]), rows)
    assert not torch.equal(torch.cat([batch[0] for batch in source.epoch(8)]), rows)


def test_fusemix_mixes_both_sides_with_one_share(world):
    vision, _ = world(60)
    source = PairsInMemory(vision, vision.copy(), batch=20, mix=1.0)
    assert not source.whole
    for left, right in source.epoch(0):
        assert torch.equal(left, right)
        assert not (left[:, None] == torch.from_numpy(vision)[None]).all(-1).any()


def test_learning_rate_test_is_kept(world):
    vision, text = world(100)
    trained = train(vision, text, options=QUICK.changed(learning_rate=None, epochs=2))
    assert trained.curve is not None
    assert trained.rate == trained.curve.chosen
    assert len(trained.curve.rates) == len(trained.curve.losses) <= 100
    assert trained.curve.rates[0] == pytest.approx(1e-7)


@pytest.mark.parametrize(("spoil", "said"), [
    (lambda v, t: (v[:50], t), "50 vision rows and 100 text rows"),
    (lambda v, t: (v[:7], t[:7]), "7 pairs are too few: training needs at least 8"),
    (lambda v, t: (np.where(np.arange(100)[:, None] == 41, np.nan, v), t), "Row 41 of the vision features"),
    (lambda v, t: (v, np.ones_like(t)), "text features are constant: all 100 rows"),
    (lambda v, t: (v[0], t), r"must be \(rows, width\)"),
])  # fmt: skip
def test_bad_features_are_named(world, spoil, said):
    vision, text = spoil(*world(100))
    with pytest.raises(StructureError, match=said):
        train(vision, text, options=QUICK)


def test_bad_options_are_named():
    with pytest.raises(StructureError, match="Did you mean retrieval"):
        TrainingOptions(selection="retrival")
    with pytest.raises(StructureError, match="dim is 0"):
        TrainingOptions(dim=0)
    with pytest.raises(StructureError, match="Device"):
        train(np.zeros((9, 2)) + np.arange(9)[:, None], np.eye(9), options=QUICK.changed(device="abacus"))


def test_a_diverging_run_says_so(world):
    vision, text = world(60)
    with pytest.raises(StructureError, match="diverged in epoch"):
        train(vision * 1e18, text, options=QUICK.changed(learning_rate=1e30, clip=1e9, epochs=5))


def test_half_precision_features_are_enough(world):
    vision, text = world(200)
    full = train(vision, text, options=QUICK)
    half = train(vision.astype(np.float16), torch.from_numpy(text).half(), options=QUICK)
    assert half.metrics["contrastive"] == pytest.approx(full.metrics["contrastive"], rel=0.05)
