"""Methods that train two heads by gradient descent: each says its heads and its objective."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, TypeVar

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
