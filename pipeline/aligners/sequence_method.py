"""Methods whose samples are several vectors: the tokens of a layer, or sets of views and captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from structure.pipeline.aligners.gradient_method import GradientMethod, Trained, short_training
from structure.pipeline.aligners.training_data import TrainingData
from structure.pipeline.progress import Listener, silent

if TYPE_CHECKING:
    from structure.pipeline.aligners.checkpoint import Checkpoint
    from structure.pipeline.aligners.fit_result import FitResult


class SequenceMethod(GradientMethod[Trained]):
    """Trained without R_S, which compares one frozen vector a sample."""

    def grid(self, *, widths: tuple[int, int], pairs: int) -> Sequence[Mapping[str, Any]]:
        known = {one.name for one in fields(self.options_class)}
        return ({name: value for name, value in short_training(pairs).items() if name in known},)

    def fit(
        self,
        data: TrainingData,
        options: Trained,
        *,
        checkpoint: Checkpoint | None = None,
        on_event: Listener = silent,
    ) -> FitResult:
        from structure.pipeline.aligners.sequence_training import train_sequences

        most = self.most_vectors(options) if self.reads(options) == "sets" else None
        return train_sequences(data, options, most=most, checkpoint=checkpoint, on_event=on_event)
