"""What a curve over the number of pairs is asked, checked without torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from structure.pipeline.aligners.aligner_method import method
from structure.pipeline.aligners.option_effects import require_use_of_unpaired
from structure.pipeline.aligners.options import TrainingOptions, no_option, option_names
from structure.pipeline.aligners.registry import ALIGNERS
from structure.store.errors import StructureError, UsageError


@dataclass(frozen=True, kw_only=True)
class PairCurveRequest:
    """Fit several `methods` to nested subsets of the pairs of a dataset split, and measure all on the same test pairs.

    `pairs` are the sizes of the subsets, 0 among them for methods that need none; each of `seeds` draws its own. `test`
    is the share of the pairs that no fit sees. `unpaired` names feature sets of the same encoders; of each sample that
    is in no pair one side is taken, and methods with R_S take part with it too. `fixed` are training options that hold
    for every method that has them. `layers`, `dataset`, `split`, `vision` and `text` are as in `AlignRequest`. The
    curve is kept in the store under its `name`; the same command again measures what is not there, and `replace` makes
    it anew. Raises StructureError for a method that does not exist or reads no vectors, unpaired rows that a method
    needs and that are not named, and an option that none has.
    """

    methods: Sequence[str]
    pairs: Sequence[int]
    layers: str = "auto"
    dataset: str | None = None
    split: str | None = None
    vision: str | None = None
    text: str | None = None
    test: float = 0.2
    seeds: Sequence[int] = (1, 2, 3, 4, 5)
    unpaired: Sequence[str] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    name: str | None = None
    replace: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "methods", tuple(dict.fromkeys(ALIGNERS.require(name) for name in self.methods)))
        object.__setattr__(self, "pairs", tuple(sorted(set(self.pairs))))
        object.__setattr__(self, "seeds", tuple(self.seeds))
        object.__setattr__(self, "layers", re.sub(r"\s*([,+])\s*", r"\1", self.layers.strip()))
        if not self.methods or not self.pairs or not self.seeds:
            raise UsageError(
                "A curve needs methods, numbers of pairs, and a seed: --curve 10,100 --method ridge,linear"
            )
        if min(self.pairs) < 0:
            raise UsageError(f"--curve {min(self.pairs)}: a number of pairs is 0 or more.")
        if not 0 < self.test < 1:
            raise UsageError(f"--test {self.test:g} is no fraction of the pairs; it must be between 0 and 1.")
        for name in self.methods:
            own = {key: value for key, value in self.fixed.items() if key in option_names(name)}
            options = TrainingOptions(method=name, **own)
            if method(name).reads(options) != "rows":
                raise StructureError(
                    f"A curve compares methods that read one vector a sample, and {name} reads several. Leave it out."
                )
            if method(name).use_of_unpaired(options) == "required":
                require_use_of_unpaired(options, self.unpaired)
        for key in self.fixed:
            if not any(key in option_names(name) for name in self.methods):
                raise no_option(list(self.methods), key)
