"""What a plan is asked about: rows, models, and what is known of the machines."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from structure.pipeline.cost_model.model_size import ModelSize
from structure.pipeline.device import require_device_name
from structure.store.column_layout import MOST
from structure.store.errors import UsageError

ROWS = (100_000, 1_000_000, 15_000_000, 400_000_000)
"""Numbers of rows that are shown side by side where none is asked for."""

MODELS = ("dinov2", "roberta")
"""Whose features are planned where no model is named: the encoders of arXiv 2506.16895."""

MOST_WORKERS, MOST_PRICE, LEAST_RATE = 1_000_000, 1e9, 1e-6
"""Bounds within which no time or price of a plan is infinite."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What is known of the machines. `rates`: samples a second of a model on one worker; `flops`: peak floating-point
    operations a second of one device; `price` of an hour of one worker; `memory` in bytes of one (None: no bound);
    `workers`: processes, devices or dask workers that share extraction and ranking. Raises UsageError."""

    device: str = "auto"
    rates: Mapping[str, float] = field(default_factory=dict)
    flops: float | None = None
    price: float | None = None
    memory: int | None = None
    workers: int = 1

    def __post_init__(self) -> None:
        require_device_name(self.device)
        if not 1 <= self.workers <= MOST_WORKERS:
            raise UsageError(f"--workers {self.workers} must be from 1 to {MOST_WORKERS:,}.")
        if self.price is not None and not 0 <= self.price <= MOST_PRICE:
            raise UsageError(f"--price-per-hour {self.price:g} must be from 0 to {MOST_PRICE:,.0f}.")
        for name, rate in self.rates.items():
            if not LEAST_RATE <= rate < math.inf:
                raise UsageError(f"--rate {name}={rate:g} must be {LEAST_RATE:g} samples a second or more.")


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Rows of `models`, each row one sample of each. Raises UsageError."""

    rows: int
    models: tuple[ModelSize, ...]
    machine: Machine

    def __post_init__(self) -> None:
        if not 1 <= self.rows <= MOST:
            raise UsageError(f"--rows {self.rows:,} must be from 1 to {MOST:,}.")
        names = [model.name for model in self.models]
        if not names or len(set(names)) != len(names):
            raise UsageError(f"--model {', '.join(names) or 'none'}: name each model once.")
        for name in self.machine.rates:
            if name not in names:
                raise UsageError(f"--rate {name}=...: the plan is of {', '.join(names)}. Add --model {name}.")

    @property
    def pair(self) -> tuple[ModelSize, ModelSize] | None:
        """The two models that are ranked and aligned: the first, and the first of another modality, or else the second;
        None of one model."""
        first, others = self.models[0], self.models[1:]
        if not others:
            return None
        return first, next((other for other in others if other.modality != first.modality), others[0])
