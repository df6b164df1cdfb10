"""The rates that were measured: seconds and memory of each step as a sum of terms, and how near that came."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from structure.pipeline.cost_model.quantity import Basis, Quantity
from structure.pipeline.yaml_file import load_yaml
from structure.pipeline.yaml_record import read_record

TABLE, FOLDER = "scale", "measured"

BEYOND = "measured up to"
"""How a quantity begins what it says of an extrapolation."""

Terms = Mapping[str, float]
"""Amounts by the name of a rate, such as {"start": 1, "rows": 10000, "operations": 2e12}."""


@dataclass(frozen=True, kw_only=True)
class RateCheck:
    """A run of a step on `rows` rows: processor seconds and peak bytes, measured and by the formula. `fitted`: whether
    the rates were fitted to it; the others were not seen."""

    rows: int
    run: str
    seconds: float
    seconds_by_formula: float
    memory: int = 0
    memory_by_formula: int = 0
    fitted: bool = False

    @property
    def ratio(self) -> float:
        """Formula over measured, of the time."""
        return self.seconds_by_formula / self.seconds


@dataclass(frozen=True, kw_only=True)
class StepRates:
    """`seconds` of one core for one unit of each term, `memory` in bytes alike, and the runs that say so."""

    name: str
    seconds: Mapping[str, float]
    memory: Mapping[str, float]
    checks: tuple[RateCheck, ...]

    def most_rows(self, kind: str = "") -> int:
        """Up to how many rows it was measured, by the runs whose name ends with `kind`."""
        return max((check.rows for check in self.checks if check.run.endswith(kind)), default=0)

    def time(self, terms: Terms, *, rows: int, kind: str = "") -> Quantity:
        """Seconds of one core for these amounts; by extrapolation beyond the rows that were measured."""
        return Quantity(weighted(self.seconds, time_terms(terms)), *self._basis(rows, kind))

    def peak(self, terms: Terms, *, rows: int, kind: str = "") -> Quantity:
        """Bytes of memory for these amounts."""
        return Quantity(weighted(self.memory, memory_terms(terms)), *self._basis(rows, kind))

    def _basis(self, rows: int, kind: str) -> tuple[Basis, str]:
        most = self.most_rows(kind)
        return ("measured", "") if rows <= most else ("formula", f"{BEYOND} {most:,} rows")


def memory_terms(terms: Terms) -> Terms:
    """Those amounts that memory grows with; `held` are bytes themselves."""
    return {name: terms[name] for name in ("start", "rows", "bytes", "held") if name in terms}


def time_terms(terms: Terms) -> Terms:
    """Those amounts that time grows with."""
    return {name: amount for name, amount in terms.items() if name != "held"}


def weighted(rates: Mapping[str, float], terms: Terms) -> float:
    """The sum of the amounts at their rates; an amount without a rate costs nothing that could be measured."""
    return float(sum(rates.get(name, 0.0) * amount for name, amount in terms.items()))


@dataclass(frozen=True, kw_only=True)
class SampledRanking:
    """A ranking of `samples` of `rows` rows against one of all, over `draws` of them and all layer pairs.

    `standard_error`: of a score over draws, the largest of the layer pairs. `rank_correlation` of the scores with those
    of all rows, the mean. `same_best`: draws with the best layer pair of all rows; `regret`: by how much the score by
    all rows of the pair that a draw chose is below the best, the largest. `gap`: between the best two by all rows.
    """

    rows: int
    samples: int
    draws: int
    layer_pairs: int
    k: int
    k_of_all: int
    standard_error: float
    rank_correlation: float
    same_best: int
    regret: float
    gap: float


@dataclass(frozen=True, kw_only=True)
class MeasuredRates:
    """All of it, on one core of `processor`, on a `date`, by `command`. `index_bytes` of a row of the sample index and
    `ids_bytes` of a row of a feature set, for rows that had what `rows_had` says."""

    about: str
    processor: str
    date: str
    command: str
    rows_had: str
    index_bytes: float
    ids_bytes: float
    sampled_ranking: SampledRanking
    steps: tuple[StepRates, ...]

    def step(self, name: str) -> StepRates:
        """The rates of one step. Raises KeyError."""
        return {step.name: step for step in self.steps}[name]


@cache
def measured_rates() -> MeasuredRates:
    """The table in the package."""
    return read_record(load_yaml("table", TABLE, folder=FOLDER), (), MeasuredRates, noun="table")
