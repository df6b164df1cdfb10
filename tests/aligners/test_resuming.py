"""A run that was stopped goes on to the same weights; a refit and unpaired rows do what they say."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from structure.pipeline.aligners import TrainingOptions, fit
from structure.pipeline.aligners.aligner_method import fit as train
from structure.pipeline.aligners.batches import PairsInMemory
from structure.pipeline.aligners.checkpoint import Checkpoint
from structure.pipeline.aligners.losses.structure_loss import structure_loss
from structure.pipeline.aligners.objectives import make_objective
from structure.pipeline.aligners.unpaired import Unpaired
from structure.pipeline.progress import Note, Progress
from structure.store.errors import StructureError
from structure.store.files_at_url import open_files

QUICK = TrainingOptions(dim=6, epochs=9, learning_rate=1e-3, batch=40, device="cpu")


class Stopped(Exception):
    pass


def stopping(after: int, phase: str = "training"):
    def listener(event):
        if isinstance(event, Progress) and event.what.startswith(phase) and event.done == after:
            raise Stopped

    return listener


def same(one, other) -> None:
    for side in ("vision", "text"):
        ours, theirs = (getattr(run.aligner, side).state_dict() for run in (one, other))
        assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.parametrize("changes", [
    {"method": "lowrank", "learning_rate": None},
    {"method": "linear", "learnable_scale": True, "mix": 1.0},
    {"method": "mlp", "batch": 4096},
    {"method": "sail", "refit": True},
])  # fmt: skip
def test_a_stopped_run_ends_with_the_weights_of_one_that_was_not(world, tmp_path, changes):
    vision, text = world(110)
    options = QUICK.changed(**changes)
    whole = fit(vision, text, options=options)
    checkpoint = Checkpoint(open_files(tmp_path), "run", {"data": "a"}, every=0)
    with pytest.raises(Stopped):
        # The event of an epoch comes before its checkpoint: the run goes on from the epoch before.
        fit(vision, text, options=options, checkpoint=checkpoint, on_event=stopping(5))
    events = []
    resumed = fit(vision, text, options=options, checkpoint=checkpoint, on_event=events.append)
    told = [event.text for event in events if isinstance(event, Note)]
    assert any("goes on after epoch 4" in text for text in told)
    same(resumed, whole)
    assert resumed.rate == whole.rate
    without = [{k: v for k, v in row.items() if k != "seconds"} for row in resumed.history]
    assert without == [{k: v for k, v in row.items() if k != "seconds"} for row in whole.history]
    assert (resumed.metrics, resumed.best_epoch, resumed.curve) == (whole.metrics, whole.best_epoch, whole.curve)
    assert list(tmp_path.iterdir()) == []


def test_a_run_stopped_in_its_refit_goes_on_there(world, tmp_path):
    vision, text = world(110)
    options = QUICK.changed(refit=True)
    whole = train(vision, text, options=options)
    assert whole.best_epoch > 3
    checkpoint = Checkpoint(open_files(tmp_path), "run", {}, every=0)
    with pytest.raises(Stopped):
        train(
            vision, text, options=options, checkpoint=checkpoint, on_event=stopping(3, "training linear on all pairs")
        )
    events = []
    resumed = train(vision, text, options=options, checkpoint=checkpoint, on_event=events.append)
    assert next(e.done for e in events if isinstance(e, Progress)) == 3
    same(resumed, whole)


def test_a_checkpoint_of_another_run_or_a_damaged_one_is_told_and_not_used(world, tmp_path):
    vision, text = world(80)
    folder = open_files(tmp_path)
    with pytest.raises(Stopped):
        fit(
            vision,
            text,
            options=QUICK,
            checkpoint=Checkpoint(folder, "run", {"data": "a"}, every=0),
            on_event=stopping(4),
        )
    kept = folder.read("run")
    for identity, spoil, said in (
        ({"data": "b"}, lambda b: b, "other data or options"),
        ({"data": "a"}, lambda b: b[:100], "cannot be read|is not what was written"),  # with half of its seal
    ):
        folder.write("run", spoil(kept))
        events = []
        run = fit(
            vision,
            text,
            options=QUICK,
            checkpoint=Checkpoint(folder, "run", identity, every=99),
            on_event=events.append,
        )
        assert any(re.search(said, event.text) for event in events if isinstance(event, Note))
        same(run, fit(vision, text, options=QUICK))


def test_refit_sees_every_pair_for_the_chosen_number_of_epochs(world):
    vision, text = world(100)
    options = QUICK.changed(learning_rate=1e-2, epochs=30, patience=5)
    chosen = train(vision, text, options=options)
    again = train(vision, text, options=options.changed(refit=True))
    assert (again.metrics, again.best_epoch) == (chosen.metrics, chosen.best_epoch)
    assert again.refit_pairs == again.aligner.metadata["refit_pairs"] == 100
    assert chosen.refit_pairs == 0
    assert not torch.equal(again.aligner.vision.weight, chosen.aligner.vision.weight)
    # The same as training on all pairs and stopping there.
    from structure.pipeline.aligners.trainer import Trainer

    source = PairsInMemory(vision, text, batch=40)
    run = Trainer(source, validation=None, extras=Unpaired(), options=options, rate=1e-2, device=torch.device("cpu"))
    for epoch in range(1, chosen.best_epoch + 1):
        run.epoch(epoch)
    assert torch.equal(run.objective.vision.weight, again.aligner.vision.weight)


def test_refit_of_a_closed_form(world):
    vision, text = world(100)
    options = QUICK.changed(method="ridge")
    chosen, again = (fit(vision, text, options=options.changed(refit=value)) for value in (False, True))
    everything = fit(vision, text, options=options, validation=world(20, seed=3))
    assert again.metrics == chosen.metrics
    same(again, everything)


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_unpaired_rows_enter_r_s_and_nothing_else(world, mode):
    vision, text = (torch.from_numpy(side) for side in world(40))
    more, _ = (torch.from_numpy(side) for side in world(25, seed=2))
    options = QUICK.changed(extras=mode)
    objective = make_objective((24, 18), options)
    plain, *_ = objective.losses(objective.batch(vision, text), structure=True)
    with_more, *_ = objective.losses(objective.batch(vision, text, extra=(more, None)), structure=True)
    assert torch.equal(with_more.contrastive, plain.contrastive)
    assert torch.equal(with_more.structure_text, plain.structure_text)
    seen = more if mode == "replace" else torch.cat([vision, more])
    torch.testing.assert_close(with_more.structure_vision, structure_loss(seen, objective.vision(seen)))


def test_a_run_with_unpaired_rows_repeats_and_refuses_other_widths(world):
    vision, text = world(90)
    more = Unpaired(world(300, seed=4)[0], None)
    options = QUICK.changed(extra_rows=16, learning_rate=1e-2)
    one, two = (train(vision, text, options=options, extras=more) for _ in "ab")
    same(one, two)
    assert one.aligner.metadata["unpaired"] == {"vision": 300, "text": 0}
    assert not torch.equal(one.aligner.vision.weight, train(vision, text, options=options).aligner.vision.weight)
    with pytest.raises(StructureError, match="unpaired text features are 24 wide, those of the pairs 18"):
        train(vision, text, options=options, extras=Unpaired(None, vision))
    spoiled = world(30)[0]
    spoiled[7, 1] = np.nan
    with pytest.raises(StructureError, match="Row 7 of the unpaired vision"):
        train(vision, text, options=options, extras=Unpaired(spoiled, None))


def test_methods_without_r_s_say_that_unpaired_rows_are_not_used(world):
    vision, text = world(60)
    for method in ("ridge", "csa"):
        events = []
        fit(
            vision,
            text,
            options=QUICK.changed(method=method),
            extras=Unpaired(world(30, seed=4)[0]),
            on_event=events.append,
        )
        assert any("not used" in event.text for event in events if isinstance(event, Note)) == (method == "ridge")


def test_bf16_products_keep_losses_in_float32(world):
    vision, text = world(120)
    full, half = (
        train(vision, text, options=QUICK.changed(learning_rate=1e-2, precision=name)) for name in ("fp32", "bf16")
    )
    assert half.aligner.vision.weight.dtype == torch.float32
    assert half.metrics["contrastive"] == pytest.approx(full.metrics["contrastive"], rel=0.05)
    assert half.metrics["contrastive"] != full.metrics["contrastive"]
