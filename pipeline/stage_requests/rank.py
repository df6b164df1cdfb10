"""What the two rankings are asked to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Literal

from structure.pipeline.ranking.options import Count, Permute, Preset, RankingOptions
from structure.pipeline.stage_requests.checks import require_choice

if TYPE_CHECKING:
    from structure.pipeline.similarity.knn.neighbour_tables import Compute

BETWEEN = ("vision-text", "vision-vision", "text-text")
SEARCH_MEMORY = 2**30
"""Bytes that a neighbour search may hold."""


@dataclass(frozen=True, kw_only=True)
class RankingRequest:
    """What both rankings share: which data, how to rank (`RankingOptions`), and within what to search.

    `memory` bounds the bytes of the search; `compute` runs it elsewhere (a dask cluster).
    """

    dataset: str | None = None
    split: str | None = None
    metric: str = "mutual_knn"
    preset: Preset = "structure"
    k: int | str | None = None
    samples: Count | None = None
    seed: int = 42
    calibrate: int | None = None
    repeats: int = 5
    group: str | None = None
    permute: Permute = "within"
    memory: int = SEARCH_MEMORY
    compute: Compute | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        _ = self.options  # raises for an unknown metric or preset

    @property
    def options(self) -> RankingOptions:
        """How to rank."""
        own = {field.name: getattr(self, field.name) for field in fields(RankingOptions)}
        return RankingOptions(**own)


@dataclass(frozen=True, kw_only=True)
class RankRequest(RankingRequest):
    """Score all layer pairs of one vision and one text feature set; save matrix, choice and charts in the store.

    `vision` and `text` name encoders; two of one modality may be compared too. `metric` ("mutual_knn"), `preset`
    ("structure" or "platonic"), `k` (a number or a rule) and `samples` (a number for a seeded subset, or "all"), both
    the preset's by default, `seed` (42), `calibrate` (permutations of the test; the metric's own number), `repeats` (5:
    how often the choice is repeated on random subsets of each size), `group` (a column of the sample index: samples of
    one value are not independent) and `permute` (what the test exchanges of them: "within" groups, or "whole" ones),
    `memory` (bytes), `compute` (runs the search elsewhere: a dask cluster). With `forecast` the ranking ends with the
    recall to expect from more pairs, from fits to subsets of them. Raises StructureError for an unknown metric, preset
    or `permute`.
    """

    vision: str | None = None
    text: str | None = None
    forecast: bool = True


@dataclass(frozen=True, kw_only=True)
class RankModelsRequest(RankingRequest):
    """Rank the layers of every two models of one dataset split; neighbours of a model are searched once.

    `vision` and `text` narrow the models by name (all of them by default); `between` says which modalities meet, each
    two models of one modality once. The other options are those of `rank_layers`.
    """

    vision: Sequence[str] = ()
    text: Sequence[str] = ()
    between: Literal["vision-text", "vision-vision", "text-text"] = "vision-text"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("--between", self.between, BETWEEN)
