"""Methods without gradient descent: each says the two heads that follow from the training pairs."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from structure.pipeline.aligners.aligner_method import Method, Options, UseOfUnpaired
from structure.pipeline.aligners.training_data import Solution, TrainingData
from structure.pipeline.progress import Listener, Note, silent
from structure.store.errors import StructureError

if TYPE_CHECKING:
    from structure.pipeline.aligners.checkpoint import Checkpoint
    from structure.pipeline.aligners.fit_result import FitResult


class ClosedForm(Method[Options]):
    """A closed form of the training pairs. A checkpoint is not used: a fit starts again.

    Pairs may be any arrays that can be sliced, such as rows that are read from shards on demand.
    """

    chooses_epoch: ClassVar[bool] = False
    least_pairs: ClassVar[int] = 2

    @abstractmethod
    def solve(self, data: TrainingData, options: Options, on_event: Listener = silent) -> Solution:
        """Both heads for training pairs that are checked; nothing of `data` but pairs and unpaired rows is set."""

    def fit(
        self,
        data: TrainingData,
        options: Options,
        *,
        checkpoint: Checkpoint | None = None,
        on_event: Listener = silent,
    ) -> FitResult:
        from structure.pipeline.aligners.closed_form_fit import fit_closed

        return fit_closed(self.solve, data, options, on_event=on_event)


class UnpairedMethod(ClosedForm[Options]):
    """A method that matches unpaired rows of both sides; of pairs a handful, or none. It says `least_pairs`."""

    def use_of_unpaired(self, options: Options) -> UseOfUnpaired:
        return "required"


def common_dim(dim: int, data: TrainingData, on_event: Listener) -> int:
    """`dim`, or the width of the narrower side where that is less, which is told."""
    most = min(data.widths)
    if dim > most:
        on_event(Note(f"the shared space has {most} dimensions, not {dim}: the narrower features have no more"))
    return min(dim, most)


def require_equal_widths(data: TrainingData, method: str) -> int:
    """The width of both sides. Raises StructureError where they differ."""
    width, other = data.widths
    if width != other:
        raise StructureError(
            f"{method} maps nothing: it needs equal widths, and these are {width} and {other}. Use it for two towers "
            "of one model, or take another method."
        )
    return width
