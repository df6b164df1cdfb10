"""Methods that train two heads by gradient descent: each says its heads and its objective."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from structure.pipeline.aligners.aligner_method import Method
from structure.pipeline.aligners.heads.head_spec import HeadSpec
from structure.pipeline.aligners.option_groups import GradientOptions, PairOptions
from structure.pipeline.aligners.training_data import TrainingData
from structure.pipeline.progress import Listener, silent

if TYPE_CHECKING:
    from structure.pipeline.aligners.checkpoint import Checkpoint
    from structure.pipeline.aligners.fit_result import FitResult
    from structure.pipeline.aligners.heads.head import Head
    from structure.pipeline.aligners.objective import Objective

Trained = TypeVar("Trained", bound=GradientOptions)
Paired = TypeVar("Paired", bound=PairOptions)


def short_training(pairs: int) -> Mapping[str, Any]:
    """A training that a selection can afford many times: a fixed rate, small batches, few epochs.

    On 667 scenes `mlp` reaches mean recall .75 so in 2 s, .77 with the defaults in 15 s; on 664 emoji .31 in 1.2 s,
    .32 in 12 s (tests/benchmarks/auto.py --trainings).
    """
    epochs = min(50, max(20, 80_000 // pairs))
    return {"learning_rate": 1e-3, "batch": 128 if pairs <= 1000 else 256, "epochs": epochs, "patience": 10, "dim": 256}


class GradientMethod(Method[Trained]):
    """Two heads, drawn from the seed, and the loss that they minimise."""

    @abstractmethod
    def heads(self, options: Trained, *, widths: tuple[int, int], prefix: int) -> tuple[HeadSpec, HeadSpec]:
        """Both heads for layers of these widths; `prefix` tokens of an image are no patches."""

    @abstractmethod
    def objective(self, vision: Head, text: Head, options: Trained) -> Objective:
        """What is minimised over these heads."""

    def passes(self, options: Trained) -> int:
        return options.epochs


class PairMethod(GradientMethod[Paired]):
    """Heads over one vector a sample, under the contrastive loss and R_S; pairs are read in shuffled batches."""

    def grid(self, *, widths: tuple[int, int], pairs: int) -> Sequence[Mapping[str, Any]]:
        return ({"regulariser": "none", **short_training(pairs)},)

    def objective(self, vision: Head, text: Head, options: Paired) -> Objective:
        from structure.pipeline.aligners.pair_objective import PairObjective

        return PairObjective(vision, text, options)

    def dim(self, options: Paired, *, widths: tuple[int, int], pairs: int) -> int:
        return options.dim

    def streams(self, options: Paired) -> bool:
        return True

    def fit(
        self,
        data: TrainingData,
        options: Paired,
        *,
        checkpoint: Checkpoint | None = None,
        on_event: Listener = silent,
    ) -> FitResult:
        from structure.pipeline.aligners.training import train

        return train(data, options, checkpoint=checkpoint, on_event=on_event)
