"""What a selection is asked to do, checked without torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from structure.pipeline.aligners.option_effects import require_effect
from structure.pipeline.aligners.option_groups import GradientOptions
from structure.pipeline.aligners.options import TrainingOptions, all_option_names, option_names, owners
from structure.pipeline.aligners.registry import ALIGNERS
from structure.pipeline.model_selection.budget import seconds_of
from structure.store.errors import StructureError, UsageError, unknown

CRITERIA = ("mrr", "R@k", "image_retrieval_recall@k", "text_retrieval_recall@k")
"""What candidates are compared by, over the held-out pairs of each fold; the first two average both directions."""


@dataclass(frozen=True, kw_only=True)
class SelectionOptions:
    """How an aligner is selected (`--method auto`).

    `candidates` are names of methods (none: every method with a grid whose inputs are there); `layer_candidates` takes
    that many of the ranking's first layer pairs, the last blocks, and two layers a side; `folds` of the training pairs;
    `select` is the criterion, "mrr" or "R@k" of both directions or one of `image_retrieval_recall@k` and
    `text_retrieval_recall@k`; `budget` seconds, also as "60s" or "5m"; `group` names a column of the sample index:
    samples with one value stay in one fold. `fixed` are training options that hold for every candidate that has them.
    With `weights` the candidates are one method with its defaults under R_S of each of these weights, 0 being none.

    Raises StructureError for a name that does not exist, or a number that makes no sense.
    """

    candidates: tuple[str, ...] = ()
    layer_candidates: int = 3
    folds: int = 3
    select: str = "mrr"
    budget: float = 60.0
    group: str | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        named = self.candidates
        listed = [part.strip() for part in named.split(",")] if isinstance(named, str) else list(named)
        object.__setattr__(self, "candidates", tuple(ALIGNERS.require(name) for name in listed if name))
        object.__setattr__(self, "budget", seconds_of(self.budget))
        pattern = re.sub(r"@[1-9]\d*$", "@k", self.select)
        if pattern not in CRITERIA or pattern == self.select != "mrr":
            raise unknown("value of --select", self.select, [name.replace("@k", "@5") for name in CRITERIA])
        if self.folds < 2:
            raise StructureError(f"--folds {self.folds}: cross-validation needs at least 2.")
        if self.layer_candidates < 1:
            raise StructureError(f"--layer-candidates {self.layer_candidates} must be 1 or more.")
        for name in self.fixed:
            if name not in all_option_names():
                raise unknown("training option", name, all_option_names())
            require_value(name, self.fixed)
            if self.candidates and not set(owners(name)) & set(self.candidates):
                raise UsageError(
                    f"None of the candidates {', '.join(self.candidates)} has the option {name!r}: it would change "
                    f"nothing. Methods with it: {', '.join(owners(name))}."
                )

    @property
    def k(self) -> int | None:
        """The number of the criterion."""
        return int(self.select.rpartition("@")[2]) if "@" in self.select else None

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        listed = {"candidates": list(self.candidates), "weights": list(self.weights)}
        return {**values, **listed, "fixed": dict(self.fixed)}


WEIGHTS = (0.0, 1.0, 10.0)
"""Weights of R_S that `weight="auto"` chooses from."""

MOST_EPOCHS, MOST_PATIENCE, RATE = 60, 15, 1e-3
"""Of the fits that choose a weight: at one learning rate, so that the weights differ in nothing else."""


def weight_selection(options: TrainingOptions) -> SelectionOptions:
    """The selection of the weight of R_S for a training with these options. Raises StructureError for a method without
    R_S."""
    if not options.uses_structure:
        raise UsageError(
            f"--weight auto chooses the weight of R_S, and this {options.method} trains without it. Leave it out, or "
            f"name a method with R_S: {', '.join(owners('weight'))}."
        )
    plain = TrainingOptions(method=options.method).to_dict()
    fixed = {name: value for name, value in options.to_dict().items() if value != plain[name]}
    for name in ("weight", "seed", "device", "refit"):
        fixed.pop(name, None)
    if isinstance(options, GradientOptions):
        fixed |= {
            "learning_rate": options.learning_rate or RATE,
            "epochs": min(options.epochs, MOST_EPOCHS),
            "patience": min(options.patience, MOST_PATIENCE),
        }
        for name in ("least_rate", "range_test"):
            fixed.pop(name, None)
    return SelectionOptions(candidates=(options.method,), weights=WEIGHTS, fixed=fixed)


def require_value(name: str, fixed: Mapping[str, Any]) -> None:
    """Raises StructureError for a value that no method takes, or that changes nothing in any beside the others."""
    having = owners(name)
    for number, owner in enumerate(having, start=1):
        try:
            own = {key: value for key, value in fixed.items() if key in option_names(owner)}
            require_effect(TrainingOptions(method=owner, **own), [name])
        except StructureError:
            if number == len(having):
                raise
        else:
            return


SELECTION_OPTIONS = tuple(one.name for one in fields(SelectionOptions) if one.name not in ("fixed", "weights"))
"""What `align` takes by name for `method="auto"`, besides training options."""
