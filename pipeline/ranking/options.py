"""How to rank: the metric, its preset, how many neighbours and samples, and what the test of the best score draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from structure.pipeline.similarity.k_rules import require_rule
from structure.pipeline.similarity.registry import SIMILARITIES, metric_named
from structure.store.errors import StructureError, UsageError, unknown

if TYPE_CHECKING:
    from structure.pipeline.similarity.clamp import Clamp

Preset = Literal["structure", "platonic"]
Count = int | Literal["all"]
Permute = Literal["within", "whole"]
PERMUTE: tuple[Permute, ...] = ("within", "whole")
"""What a test exchanges of samples in groups: rows within a group, or whole groups."""

PRESETS: dict[str, dict[str, Any]] = {
    # arXiv 2506.16895, section 3: up to 5,000 pairs, no clamp, k by the Rice rule.
    "structure": {"k": "rice", "samples": 5000, "clamp": None},
    # Huh et al. 2024 as published: entries clamped at the 0.95 quantile, k = 10.
    "platonic": {"k": 10, "samples": None, "clamp": "approx"},
}


@dataclass(frozen=True)
class RankingOptions:
    """How to rank. `k` is a number or a rule and `samples` how many samples; None takes the preset's.

    `calibrate` is the number of permutations of the test; None means the metric's own. `repeats` subsets of each size
    tell how stable the choice is. `group` is a column of the sample index whose values are groups of samples that are
    not independent, and `permute` what the test exchanges then (`Exchangeability`). Raises StructureError for an
    unknown metric or preset; imports no metric to know.
    """

    metric: str = "mutual_knn"
    preset: Preset = "structure"
    k: int | str | None = None
    samples: Count | None = None
    seed: int = 42
    calibrate: int | None = None
    repeats: int = 5
    group: str | None = None
    permute: Permute = "within"

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise unknown("preset", self.preset, PRESETS)
        if self.permute not in PERMUTE:
            raise unknown("--permute", self.permute, PERMUTE)
        if self.group is None and self.permute != "within":
            raise UsageError(f"--permute {self.permute} is of groups: it changes nothing without --group COLUMN.")
        object.__setattr__(self, "metric", metric_named(self.metric))
        if isinstance(self.k, str) and not self.k.lstrip("-").isdigit():
            require_rule(self.k)
        least = {"k": 1, "samples": 1, "seed": 0, "calibrate": 0, "repeats": 0}
        for option, bound in least.items():
            value = getattr(self, option)
            if isinstance(value, int) and value < bound:
                raise StructureError(f"--{option} is {value}; it must be at least {bound}.")
        if self.samples not in (None, "all") and not isinstance(self.samples, int):
            raise StructureError(f"--samples is {self.samples!r}; it must be a number of samples, or all.")

    @property
    def rule(self) -> int | str:
        """The number of neighbours, or the rule that gives it."""
        return PRESETS[self.preset]["k"] if self.k is None else self.k  # type: ignore[no-any-return]

    @property
    def clamp(self) -> Clamp | None:
        """The preprocessing of the preset."""
        return PRESETS[self.preset]["clamp"]  # type: ignore[no-any-return]

    @property
    def permutations(self) -> int:
        """How many permutations the test draws."""
        return SIMILARITIES[self.metric].permutations if self.calibrate is None else self.calibrate

    @property
    def most_rows(self) -> int | None:
        """How many samples are ranked at most; None for all of them."""
        count = PRESETS[self.preset]["samples"] if self.samples is None else self.samples
        return count if isinstance(count, int) else None
