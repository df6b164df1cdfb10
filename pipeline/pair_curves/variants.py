"""The lines of a curve: methods with the options that they have for each number of pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from structure.pipeline.aligners.aligner_method import UseOfUnpaired, method
from structure.pipeline.aligners.options import TrainingOptions, option_names

STRUCTURE = "structure"


@dataclass(frozen=True)
class CurveVariant:
    """A method, under R_S or without; `fixed` are training options that hold for every method that has them."""

    method: str
    structure: bool = False
    fixed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Its name in figure and table."""
        return f"{self.method} + R_S" if self.structure else self.method

    def options(self, *, widths: tuple[int, int], pairs: int, common: Mapping[str, Any]) -> TrainingOptions:
        """For layers of these widths and so many pairs: the method's defaults where a selection takes part with them,
        else the first options that it takes part with. Raises StructureError for numbers that make no sense."""
        cells = [
            cell
            for cell in _grid(self.method, widths, pairs)
            if (cell.get("regulariser") == STRUCTURE) == self.structure
        ]
        plain = TrainingOptions(method=self.method).to_dict()
        is_plain = [cell for cell in cells if all(plain[name] == value for name, value in cell.items())]
        cell = (is_plain or cells or [{}])[0]
        own = {name: value for name, value in self.fixed.items() if name in option_names(self.method)}
        return TrainingOptions(method=self.method, **{**cell, **common, **own})

    @property
    def use_of_unpaired(self) -> UseOfUnpaired:
        """What it makes of unpaired rows."""
        changes = {"regulariser": STRUCTURE if self.structure else "none"}
        known = {name: value for name, value in changes.items() if name in option_names(self.method)}
        return method(self.method).use_of_unpaired(TrainingOptions(method=self.method, **known))

    @property
    def reads_pairs(self) -> bool:
        """Whether it is another one for another number of pairs."""
        return method(self.method).reads_pairs


def variants_of(methods: Sequence[str], *, unpaired: bool, fixed: Mapping[str, Any]) -> list[CurveVariant]:
    """The lines for these methods: each without R_S, and under it where there are unpaired rows for it to see and the
    method takes part in a selection so; with a `regulariser` that is fixed under that alone."""
    found = []
    for name in dict.fromkeys(methods):
        kinds = {cell.get("regulariser") == STRUCTURE for cell in _grid(name, (64, 64), 64)}
        under = [False, *([True] if unpaired and True in kinds else [])]
        if "regulariser" in fixed and "regulariser" in option_names(name):
            under = [fixed["regulariser"] == STRUCTURE]
        found += [CurveVariant(name, each, fixed) for each in under]
    return found


def _grid(name: str, widths: tuple[int, int], pairs: int) -> Sequence[Mapping[str, Any]]:
    return method(name).grid(widths=widths, pairs=max(pairs, 1)) or ({},)
