"""What a training run has found so far: its history, the best epoch by the chosen criterion, and its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from structure.pipeline.aligners.checkpoint import Checkpoint
from structure.pipeline.aligners.option_groups import GradientOptions
from structure.pipeline.aligners.trainer import Trainer
from structure.pipeline.progress import Listener, Note


@dataclass
class BestEpoch:
    """What a run has found so far, as JSON values; `best_state` are the weights of the best epoch."""

    rate: float = 0.0
    curve: Mapping[str, Any] | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    seconds: float = 0.0
    best_state: dict[str, torch.Tensor] = field(default_factory=dict)

    def take(self, row: dict[str, float], options: GradientOptions) -> bool:
        """Add an epoch; whether it is the best so far."""
        self.history.append(row)
        if self.best_epoch and not score(row, options) < score(self.history[self.best_epoch - 1], options):
            return False
        self.best_epoch = len(self.history)
        return True

    def is_over(self, patience: int) -> bool:
        """Whether `patience` epochs have brought nothing better."""
        return bool(self.history) and len(self.history) - self.best_epoch >= patience

    def facts(self) -> dict[str, Any]:
        """All but the tensors."""
        return {name: value for name, value in vars(self).items() if name != "best_state"}


def score(row: dict[str, float], options: GradientOptions) -> tuple[float, ...]:
    """Lower is better. Retrieval moves in steps of one pair, so the contrastive loss settles ties."""
    if options.selection == "retrieval":
        return -(row["val_image_retrieval_recall@1"] + row["val_text_retrieval_recall@1"]), row["val_contrastive"]
    return (row["val_loss"] if options.selection == "loss" else row["val_contrastive"],)


def earlier_state(
    checkpoint: Checkpoint | None, on_event: Listener
) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    """The state of an earlier run, tensors and facts, that this one goes on from."""
    state = None if checkpoint is None else checkpoint.load()
    if isinstance(state, str):
        on_event(Note(f"the checkpoint of an earlier run is not used: {state}"))
        return None
    return state


def save_state(checkpoint: Checkpoint, run: Trainer, state: BestEpoch) -> None:
    """Write the state of a run, to go on from."""
    tensors, facts = run.state()
    best = {f"best.{name}": value for name, value in state.best_state.items()}
    checkpoint.save({**tensors, **best}, {**facts, "outcome": state.facts()})
