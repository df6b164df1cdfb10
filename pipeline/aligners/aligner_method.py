"""What a method says of itself: everything that the rest of the program asks of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar, cast

from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.aligners.registry import ALIGNERS
from structure.pipeline.aligners.training_data import TrainingData
from structure.pipeline.progress import Listener, silent

if TYPE_CHECKING:
    from structure.pipeline.aligners.checkpoint import Checkpoint
    from structure.pipeline.aligners.fit_result import FitResult
    from structure.pipeline.aligners.unpaired import Unpaired

Inputs = Literal["rows", "tokens", "sets"]
"""What a sample is: one vector, the tokens of a layer, or sets of views and captions."""

UseOfUnpaired = Literal["unused", "optional", "required"]
"""What a method makes of unpaired rows; where they are required it is of both sides."""

Options = TypeVar("Options", bound=TrainingOptions)


class Method(ABC, Generic[Options]):
    """One way to align two frozen layers; it has no state. `ClosedForm` and `GradientMethod` are the usual parents.

    The file of a method imports no torch: names, options and help are read from it before anything heavy is loaded.
    What computes is imported where it runs.
    """

    about: ClassVar[str]
    """What it does and means, one sentence for help and glossary."""

    options_class: type[Options]
    """Its options: a frozen dataclass below `TrainingOptions`. R_S applies where `StructureOptions` is part of it."""

    presets: ClassVar[Mapping[str, Mapping[str, Any] | None]] = {}
    """Preset -> what it means for this method beyond the common settings; None: it has no such settings."""

    chooses_epoch: ClassVar[bool] = True
    """Whether a fit chooses by the validation pairs; else these give metrics alone, and no pair need be held out."""

    least_pairs: ClassVar[int] = 8
    """Pairs that it can be fitted to beside given validation pairs; where it holds out its own, 8 at least, unless it
    matches unpaired rows."""

    reads_pairs: ClassVar[bool] = True
    """Whether pairs take part; else it is the same with other pairs."""

    @abstractmethod
    def fit(
        self,
        data: TrainingData,
        options: Options,
        *,
        checkpoint: Checkpoint | None = None,
        on_event: Listener = silent,
    ) -> FitResult:
        """Align. The same seed on the same machine gives the same weights, also from a `checkpoint`; no global random
        state is touched. Raises StructureError for too few pairs, unequal counts, rows that are not finite, or
        constant features."""

    @abstractmethod
    def dim(self, options: Options, *, widths: tuple[int, int], pairs: int) -> int:
        """Width of the shared space, at most, for layers of these widths and so many pairs."""

    def reads(self, options: Options) -> Inputs:
        """What a sample is for a run with these options."""
        return "rows"

    def use_of_unpaired(self, options: Options) -> UseOfUnpaired:
        """What it makes of unpaired rows."""
        return "optional" if options.uses_structure else "unused"

    def streams(self, options: Options) -> bool:
        """Whether it reads the pairs in passes, chunk by chunk; else both layers must fit the memory."""
        return False

    def most_vectors(self, options: Options) -> tuple[int | None, int | None]:
        """Of sets: how many views and captions of a sample take part; None for all."""
        return None, None

    def passes(self, options: Options) -> int:
        """How often a fit goes over the pairs, at most. What one pass costs is probed (see `estimate`)."""
        return 1

    def grid(self, *, widths: tuple[int, int], pairs: int) -> Sequence[Mapping[str, Any]]:
        """With which options it takes part where the method is selected (`--method auto`) for layers of these widths
        and so many training pairs: each mapping is one candidate beyond the defaults. None of them: it takes part only
        where it is named."""
        return ({},)

    def cost(self, options: Options, *, widths: tuple[int, int], pairs: int) -> float:
        """Floating-point operations of a fit, roughly: what a selection orders its candidates by."""
        dim = self.dim(options, widths=widths, pairs=pairs)
        return 6.0 * self.passes(options) * pairs * sum(widths) * dim

    def operations(self, options: Options, *, widths: tuple[int, int], pairs: int) -> float | None:
        """Operations of a closed form on so many training pairs, without its epochs where it has some (see
        `closed_form_cost`); None: nothing is known, and a fit to some pairs is timed."""
        return None

    def epoch_pairs(self, options: Options, *, pairs: int) -> int:
        """Of so many training pairs those that an epoch goes over."""
        return pairs

    def workspace(self, options: Options, *, widths: tuple[int, int], pairs: int) -> int:
        """Bytes that a fit holds at once beside the pairs, its program and the embeddings of held-out pairs."""
        return 8 * 8 * sum(width**2 for width in widths)


def method(name: str) -> Method[Any]:
    """The method of that name. Raises StructureError that offers the nearest names."""
    return cast(Method[Any], ALIGNERS[name]())


def fit(
    vision: Any,
    text: Any,
    *,
    options: TrainingOptions,
    validation: tuple[Any, Any] | None = None,
    extras: Unpaired | None = None,
    checkpoint: Checkpoint | None = None,
    on_event: Listener = silent,
) -> FitResult:
    """Align by `options.method`; see `TrainingData` for the arguments. Every method holds out the same pairs."""
    data = TrainingData(vision, text, validation, unpaired=extras)
    return fit_data(data, options, checkpoint=checkpoint, on_event=on_event)


def fit_data(
    data: TrainingData,
    options: TrainingOptions,
    *,
    checkpoint: Checkpoint | None = None,
    on_event: Listener = silent,
) -> FitResult:
    """Align by `options.method`, as `Method.fit`. A side of `JoinedRows` is several layers, which are made comparable
    first (`LayerConcat`): the heads of the aligner hold that step."""
    from structure.pipeline.aligners.layer_concat import ConcatenatedData

    joined = ConcatenatedData.of(data)
    fitted = method(options.method).fit(joined.data, options, checkpoint=checkpoint, on_event=on_event)
    return joined.whole(fitted)
