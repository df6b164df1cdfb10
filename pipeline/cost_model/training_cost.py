"""What training costs: a closed form from moments, linear heads by gradient descent, and the same under R_S."""

from __future__ import annotations

from dataclasses import dataclass

from structure.pipeline.aligners.aligner_method import method
from structure.pipeline.aligners.option_groups import GradientOptions
from structure.pipeline.aligners.options import TrainingOptions, applicable
from structure.pipeline.cost_model.measured_rates import MeasuredRates
from structure.pipeline.cost_model.step_cost import StepCost
from structure.pipeline.cost_model.workload import Workload
from structure.pipeline.pairing.training_rows import COPIES
from structure.store.column_layout import Column


@dataclass(frozen=True)
class PlannedFit:
    """A method with or without R_S, as `align --method NAME --regulariser NAME` runs it."""

    name: str
    regulariser: str = "none"

    @property
    def options(self) -> TrainingOptions:
        """Its defaults."""
        return TrainingOptions(**applicable({"method": self.name, "regulariser": self.regulariser}))

    @property
    def step(self) -> str:
        """Its name among the measured rates."""
        return f"align {self.name} {self.regulariser}"

    @property
    def streams(self) -> bool:
        """Whether it reads pairs in passes, in bounded memory."""
        return method(self.name).streams(self.options)

    def dim(self, widths: tuple[int, int], pairs: int) -> int:
        """Width of the shared space."""
        return method(self.name).dim(self.options, widths=widths, pairs=pairs)


CLOSED, LINEAR, STRUCTURE = PlannedFit("csa"), PlannedFit("linear"), PlannedFit("linear", "structure")
RUNS = (CLOSED, LINEAR, STRUCTURE)


def training_terms(run: PlannedFit, widths: tuple[int, int], pairs: int, *, epochs: int) -> dict[str, float]:
    """What the time of a fit grows with. Of a closed form: second moments of both sides (2 n d^2 each product), whose
    decompositions are part of the start. Of gradient descent in `epochs`: heads, and products of each batch with
    itself, forward and backward (6 n d dim and 6 n batch dim); R_S compares the rows of a batch within each side too.
    `held` are the bytes of both layers in memory, and of the copy of the rows that train."""
    vision, text = widths
    held = held_bytes(widths, pairs)
    if not isinstance(run.options, GradientOptions):
        products = 2.0 * pairs * (vision**2 + text**2 + vision * text)
        return {"start": 1, "operations": products, "held": held}
    dim, batch = run.dim(widths, pairs), min(run.options.batch, pairs)
    each = 6.0 * dim * (vision + text) + 6.0 * batch * dim
    if run.options.uses_structure:
        each += 2.0 * batch * (vision + text) + 12.0 * batch * dim
    return {"start": 1, "operations": each * pairs * epochs, "held": held}


def held_bytes(widths: tuple[int, int], pairs: int) -> int:
    """Bytes of the pairs in memory, as `align` counts them against --memory."""
    return COPIES * pairs * sum(Column("", width).vector_bytes for width in widths)


def fewest_epochs(options: GradientOptions) -> int:
    """Early stopping ends a run no sooner: the first epoch is the best, and `patience` epochs see none that is."""
    return min(options.patience + 1, options.epochs)


def training(workload: Workload, rates: MeasuredRates) -> list[StepCost]:
    """The last layers of the two models, by each of `RUNS`."""
    if workload.pair is None:
        return []
    vision, text = (model.columns[-1] for model in workload.pair)
    return [_training(workload, rates, run, (vision.width, text.width)) for run in RUNS]


def _training(workload: Workload, rates: MeasuredRates, run: PlannedFit, widths: tuple[int, int]) -> StepCost:
    options, rows, measured = run.options, workload.rows, rates.step(run.step)
    epochs = fewest_epochs(options) if isinstance(options, GradientOptions) else 1
    terms = training_terms(run, widths, rows, epochs=epochs)
    note = f"{widths[0]} and {widths[1]} numbers a row"
    if isinstance(options, GradientOptions):
        note += f"; {epochs} epochs, the fewest that early stopping allows, at most {options.epochs}"
    allowed, held = workload.machine.memory, held_bytes(widths, rows)
    passes = run.streams and allowed is not None and held > allowed
    if passes and allowed is not None:
        terms["held"] = allowed
    if passes:
        note += "; rows are read in passes"
    elif allowed is not None and held > allowed:
        note += "; does not fit --memory: align refuses it, and names what reads in passes"
    return StepCost(
        step="align",
        way=f"--method {run.name} --regulariser {run.regulariser}",
        memory=measured.peak(terms, rows=rows),
        seconds=measured.time(terms, rows=rows),
        note=note,
    )
