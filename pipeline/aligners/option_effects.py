"""Options that would change nothing are refused by name, with what to do instead: of one run, and of a grid of runs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from structure.pipeline.aligners.options import (
    DEFAULT_METHOD,
    TrainingOptions,
    applicable,
    flagged,
    no_option,
    option_names,
    renamed,
)
from structure.pipeline.aligners.registry import ALIGNERS
from structure.store.errors import StructureError

OF_UNPAIRED = ("extras", "extra_rows")
"""Options that change nothing without unpaired rows."""


def require_effect(options: TrainingOptions, given: Iterable[str]) -> None:
    """Raises StructureError for an option of `given` that changes nothing as the others are."""
    for name in given:
        if name in options.idle:
            raise _idle(name, options)


def require_effects(
    cells: Sequence[Mapping[str, Any]], *, preset: str, varied: Collection[str] = (), given: Collection[str] = ()
) -> None:
    """`cells` are the options of every run of a grid. Raises StructureError for an option that none of their methods
    has, or that changes nothing in any run; for one that is `varied` and changes nothing in some of them; and for a
    `given` one that some of the methods do not have.
    """
    cells = [renamed(cell) for cell in cells]
    methods = list(dict.fromkeys(cell.get("method", DEFAULT_METHOD) for cell in cells))
    names = list(dict.fromkeys(name for cell in cells for name in cell))
    for name in names:
        have = [method for method in methods if name in option_names(method)]
        if not have:
            raise no_option(methods, name)
        if len(have) < len(methods) and name in {*varied, *given}:
            without = ", ".join(method for method in methods if method not in have)
            raise StructureError(
                f"The option {flagged(name)} changes nothing for {without}, beside {', '.join(have)} in the grid. "
                f"Leave {name} out, or vary method={','.join(have)} without {without}."
            )
    runs = [(cell, TrainingOptions.preset(preset, **applicable(cell))) for cell in cells]
    for name in names:
        having = [options for cell, options in runs if name in cell and name in option_names(options.method)]
        idle = [options for options in having if name in options.idle]
        if idle and (name in varied or len(idle) == len(having)):
            raise _idle(name, idle[0], grid=len(idle) < len(having))


def require_unpaired(given: Iterable[str], unpaired: Collection[str]) -> None:
    """Raises StructureError for an option of unpaired rows where there are none."""
    lonely = [] if unpaired else [name for name in given if name in OF_UNPAIRED]
    if lonely:
        raise StructureError(f"The option {lonely[0]} is of unpaired rows: it changes nothing without --unpaired.")


def matching_methods() -> list[str]:
    """The methods that match unpaired rows."""
    return [name for name in ALIGNERS if use_of_unpaired(TrainingOptions(method=name)) == "required"]


def use_of_unpaired(options: TrainingOptions) -> str:
    """What the method of these options makes of unpaired rows, see `Method.use_of_unpaired`."""
    return str(ALIGNERS[options.method]().use_of_unpaired(options))


def require_use_of_unpaired(options: TrainingOptions, unpaired: Collection[str]) -> None:
    """Raises StructureError for unpaired rows that the method does not see, and where it needs some."""
    use = use_of_unpaired(options)
    if unpaired and use == "unused":
        raise StructureError(
            f"--unpaired changes nothing: R_S sees unpaired rows, and {options.method} trains without it here. Leave "
            "out --unpaired, train with R_S (--method linear --regulariser structure), or name a method that matches "
            f"unpaired rows: {', '.join(matching_methods())}."
        )
    if use == "required" and not unpaired:
        raise StructureError(
            f"{options.method} matches unpaired images with unpaired texts, and there are none of either. Name feature "
            "sets of both encoders, such as those of the pairs' own data, of which the rest is taken: --unpaired "
            "DATASET/SPLIT"
        )


def require_no_need_of_pairs(method: str) -> None:
    """Raises StructureError for a method that learns from pairs."""
    if ALIGNERS[method].least_pairs:
        without = " or ".join(name for name in matching_methods() if not ALIGNERS[name].least_pairs)
        raise StructureError(f"--pairs 0: {method} learns from pairs. Pass 1 or more, or --method {without}.")


def _idle(name: str, options: TrainingOptions, *, grid: bool = False) -> StructureError:
    other, value = options.idle[name]
    current = getattr(options, other)
    remedy = f"or leave out {flagged(other)}" if value is None else f"or choose {other}={value}"
    where = f"where {other} is {current}, as in some runs of the grid" if grid else f"with {other}={current}"
    return StructureError(f"The option {flagged(name)} changes nothing {where}. Leave {name} out, {remedy}.")
