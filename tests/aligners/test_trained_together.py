"""Trainings of one shape as one: each gives what it gives alone, whatever the others do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from structure.pipeline.aligners import TrainingOptions, fit
from structure.pipeline.aligners.checkpoint import Checkpoint
from structure.pipeline.aligners.fit_result import FitResult
from structure.pipeline.aligners.stacked_epoch import StackedEpoch
from structure.pipeline.aligners.trained_together import train_together
from structure.pipeline.aligners.trainer import Trainer
from structure.pipeline.progress import Progress
from structure.store import open_store
from structure.store.errors import StructureError

PLAIN: dict[str, Any] = {"dim": 8, "batch": 32, "epochs": 12, "patience": 12, "learning_rate": 3e-3, "device": "cpu"}
RUNS: list[dict[str, Any]] = [
    {"seed": 1},
    {"seed": 2, "weight": 3.0, "weight_text": 1.0, "warm_up": 0.5},
    {"seed": 3, "regulariser": "none", "learning_rate": 0.1, "patience": 2},
    {"seed": 1, "combine": "mean", "learning_rate": 0.05, "patience": 3, "refit": True},
    {"seed": 4, "learning_rate": None, "selection": "retrieval", "epochs": 6},
]
"""They differ in all that runs of one shape may differ in; the third and fourth stop early."""


def features(rows: int = 150) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(rows, 10, generator=generator)
    vision, text = (torch.cat([common, torch.randn(rows, 6, generator=generator)], dim=1) for _ in "vt")
    return vision, text


def trainings(runs: list[dict[str, Any]], **more: Any) -> list[Callable[[], FitResult]]:
    return [partial(fit, *features(), options=TrainingOptions(**{**PLAIN, **run, **more})) for run in runs]


def compare(one: FitResult, other: FitResult) -> None:
    """Everything but the time, to rounding."""
    assert (one.epochs, one.best_epoch, one.refit_pairs) == (other.epochs, other.best_epoch, other.refit_pairs)
    for first, second in zip(one.history, other.history, strict=True):
        for name, value in first.items():
            if name != "seconds":
                assert second[name] == pytest.approx(value, rel=2e-3, abs=1e-5), name
    for mine, its in ((one.aligner.vision, other.aligner.vision), (one.aligner.text, other.aligner.text)):
        for name, value in mine.state_dict().items():
            torch.testing.assert_close(its.state_dict()[name], value, rtol=2e-3, atol=2e-4)
    assert one.rate == pytest.approx(other.rate, rel=1e-6)


@pytest.mark.parametrize(("method", "scope"), [("linear", "global"), ("mlp", "tensor")])
def test_each_is_what_it_is_alone(method: str, scope: str, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [{**run, "method": method, "clip_scope": scope, "clip": 0.5} for run in RUNS]
    alone = [training() for training in trainings(runs)]
    sizes: list[int] = []
    rows = StackedEpoch.rows
    monkeypatch.setattr(StackedEpoch, "rows", lambda self: sizes.append(len(self.runs)) or rows(self))
    together = train_together(trainings(runs))
    for one, other in zip(alone, together, strict=True):
        assert isinstance(other, FitResult)
        compare(one, other)
    assert max(sizes) == len(runs)  # all of them at first
    assert len(set(sizes)) > 1  # and fewer when some have stopped
    assert len({one.epochs for one in alone}) > 1


def test_one_that_diverges_leaves_the_others() -> None:
    runs = [RUNS[0], {"seed": 2, "learning_rate": 1e38}, {**RUNS[1], "batch": 40}, RUNS[3]]
    together = train_together(trainings(runs))
    assert isinstance(together[1], StructureError)
    assert "diverged" in str(together[1])
    for number in (0, 2, 3):
        made = together[number]
        assert isinstance(made, FitResult)
        compare(trainings(runs)[number](), made)


@pytest.mark.parametrize("change", [{"levels": 2}, {"method": "lowrank"}, {"batch": 4096}, {"loss": "sigmoid"}])
def test_what_cannot_be_stacked_is_trained_as_alone(change: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StackedEpoch, "rows", None)
    runs = [{"seed": 1, **change, "epochs": 3}, {"seed": 2, **change, "epochs": 3}]
    for one, other in zip((training() for training in trainings(runs)), train_together(trainings(runs)), strict=True):
        assert isinstance(other, FitResult)
        for first, second in zip(one.history, other.history, strict=True):
            assert {**first, "seconds": 0} == {**second, "seconds": 0}
        assert torch.equal(*(next(run.aligner.vision.parameters()) for run in (one, other)))


class Killed(BaseException):
    """The program was stopped."""


def test_stopped_they_go_on_from_their_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = open_store(tmp_path).folder("checkpoints", "runs")
    checkpoints = [Checkpoint(folder, f"{number}.safetensors", {"run": number}, every=0) for number in range(3)]
    runs = [RUNS[number] for number in (0, 1, 3)]

    def started(on_event: Callable[[object], None]) -> list[Callable[[], FitResult]]:
        each = zip(trainings(runs), checkpoints, strict=True)
        return [partial(training, checkpoint=checkpoint, on_event=on_event) for training, checkpoint in each]

    def stop(event: object) -> None:
        if isinstance(event, Progress) and event.done == 5:
            raise Killed

    with pytest.raises(Killed):
        train_together(started(stop))
    taken: list[int] = []
    epoch = StackedEpoch.__init__
    monkeypatch.setattr(
        StackedEpoch, "__init__", lambda self, runs, epochs: taken.append(min(epochs)) or epoch(self, runs, epochs)
    )
    for training, made in zip(trainings(runs), train_together(started(lambda event: None)), strict=True):
        assert isinstance(made, FitResult)
        compare(training(), made)
    assert min(taken[:1]) == 5  # four epochs are not trained again


def test_a_fault_in_one_ends_all_and_leaves_no_thread() -> None:
    import threading

    before = threading.active_count()

    def broken(self: Trainer) -> None:
        raise ZeroDivisionError("a fault of the program")

    with pytest.raises(ZeroDivisionError):
        train_together([*trainings(RUNS[:2]), partial(broken, None)])  # type: ignore[arg-type,list-item]
    assert threading.active_count() == before
