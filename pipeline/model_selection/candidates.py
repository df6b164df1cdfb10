"""The candidates of a selection, read from the registry of aligners."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from structure.pipeline.aligners.aligner_method import Inputs, UseOfUnpaired, method
from structure.pipeline.aligners.options import TrainingOptions, option_names
from structure.pipeline.aligners.registry import ALIGNERS
from structure.pipeline.model_selection.halving import Entry
from structure.pipeline.model_selection.options import SelectionOptions
from structure.store.errors import StructureError

Layers = tuple[str, str]
"""A vision and a text layer."""

MOST_DIM = 16_384
"""Width of the shared space that a selected aligner has at most: `asif` has one dimension a training pair."""


@dataclass(frozen=True)
class Candidate:
    """A method with its options, on two layers."""

    options: TrainingOptions
    layers: Layers
    stated: Mapping[str, Any] = field(compare=False)
    """What its options say beyond the method's defaults: the cell of its grid."""

    @property
    def inputs(self) -> Inputs:
        """What a sample is for it."""
        return method(self.options.method).reads(self.options)

    @property
    def use_of_unpaired(self) -> UseOfUnpaired:
        """What it makes of unpaired rows."""
        return method(self.options.method).use_of_unpaired(self.options)

    @property
    def uses_structure(self) -> bool:
        """Whether it trains under R_S."""
        return self.options.uses_structure

    @property
    def structure(self) -> dict[str, Any]:
        """What it states of R_S: the regulariser and its weight."""
        return {name: self.stated[name] for name in ("regulariser", "weight") if name in self.stated}

    def cost(self, widths: tuple[int, int], pairs: int) -> float:
        """Operations of a fit, roughly."""
        return method(self.options.method).cost(self.options, widths=widths, pairs=pairs)

    def entry(self, cost: float, layers: int) -> Entry:
        """It as the planner sees it; `layers` is the number of its layer pair."""
        is_costly = method(self.options.method).passes(self.options) > 1
        return Entry(layers, cost, is_costly, self.options.method)


@dataclass(frozen=True)
class FinalFit:
    """What the chosen candidate is fitted to in the end: so many `pairs` (None: those that chose it), which are read
    `in_passes` where they do not fit the memory."""

    pairs: int | None = None
    in_passes: bool = False

    def allows(self, candidate: Candidate, widths: tuple[int, int]) -> bool:
        """Whether a candidate on layers of these widths can be fitted so."""
        one, options = method(candidate.options.method), candidate.options
        if self.pairs is not None and one.dim(options, widths=widths, pairs=self.pairs) > MOST_DIM:
            return False
        return not self.in_passes or candidate.inputs == "tokens" or one.streams(options)


def candidates_on(
    layers: Layers,
    options: SelectionOptions,
    *,
    widths: tuple[int, int],
    pairs: int,
    common: Mapping[str, Any],
    inputs: Inputs = "rows",
) -> list[Candidate]:
    """Every candidate that reads `inputs` of two layers of these widths: the methods that the options name (all of
    them, where they name none), each with its grid for `pairs` training pairs under the options that are fixed;
    `common` are those that say nothing about the method, such as the seed. With weights of R_S their grid is these
    alone."""
    weights = options.weights
    under = [{"regulariser": "structure", "weight": one} if one else {"regulariser": "none"} for one in weights]
    found: dict[TrainingOptions, Candidate] = {}
    for name in options.candidates or ALIGNERS:
        one, known = method(name), option_names(name)
        own = {key: value for key, value in options.fixed.items() if key in known}
        for cell in under or one.grid(widths=widths, pairs=pairs) or (({},) if name in options.candidates else ()):
            stated = {**cell, **own}
            try:
                idle = TrainingOptions(method=name, **stated, **common).idle
                stated = {key: value for key, value in stated.items() if key not in idle}
                made = TrainingOptions(method=name, **stated, **common)
            except StructureError:
                continue  # a fixed value that this method does not take, such as another loss
            candidate = Candidate(made, layers, stated)
            if candidate.inputs == inputs:
                found.setdefault(made, candidate)
    return list(found.values())


def require_candidates(found: Sequence[Candidate], fixed: Mapping[str, Any], final: FinalFit) -> None:
    """Raises StructureError where there is no candidate, or a fixed option that none has."""
    if not found and final.in_passes:
        raise StructureError(
            "None of the candidates reads the pairs in passes, and --memory does not hold them. Raise --memory, take "
            "fewer --pairs, or other --candidates, such as ridge,linear."
        )
    if not found:
        raise StructureError("No method reads what is stored of these layers. Name another --layers or --candidates.")
    for name in fixed:
        if not any(name in candidate.stated for candidate in found):
            raise StructureError(f"No candidate has the option {name!r}: it would change nothing. Leave it out.")
