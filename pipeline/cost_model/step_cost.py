"""What one step of the pipeline costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from structure.pipeline.cost_model.quantity import NOTHING, Quantity

HOUR = 3600.0


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """One command, or one way of it. `disk`: bytes that it writes; `memory`: bytes that it holds at most; `seconds` of
    one worker; `is_shared`: whether several workers divide the time. `each`: what the time is of, where it is not the
    whole step."""

    step: str
    way: str
    seconds: Quantity
    disk: Quantity = NOTHING
    memory: Quantity = NOTHING
    is_shared: bool = False
    each: str = ""
    note: str = ""

    def elapsed(self, workers: int) -> Quantity:
        """Seconds until so many workers have done it."""
        if not self.is_shared or workers == 1:
            return self.seconds
        return self.seconds.times(1 / workers, basis="assumed", about=f"{workers} workers share the time evenly")

    def money(self, price: float | None) -> Quantity | None:
        """What the time of all workers costs at `price` an hour of one; None without a price."""
        return None if price is None else self.seconds.times(price / HOUR)

    def to_dict(self, *, workers: int, price: float | None) -> dict[str, Any]:
        """As JSON values."""
        money = self.money(price)
        return {
            "step": self.step,
            "way": self.way,
            "disk": self.disk.to_dict(),
            "memory": self.memory.to_dict(),
            "seconds": self.elapsed(workers).to_dict(),
            **({} if money is None else {"money": money.to_dict()}),
            **({"each": self.each} if self.each else {}),
            **({"note": self.note} if self.note else {}),
        }
