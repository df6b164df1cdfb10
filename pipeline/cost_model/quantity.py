"""A number of the cost model, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Basis = Literal["measured", "formula", "assumed", "unknown"]
"""`measured`: by a rate that was measured, for no more rows than in its checks. `formula`: computed from sizes, from a
rate that the user gave, or from a measured rate beyond its checks. `assumed`: an assumption takes part, which `about`
names. `unknown`: nothing here says."""

_WEAKEST: tuple[Basis, ...] = ("measured", "formula", "assumed", "unknown")


@dataclass(frozen=True)
class Quantity:
    """`value`, None where it is unknown, on which `basis`, and `about` it what else must be known."""

    value: float | None
    basis: Basis
    about: str = ""

    def __post_init__(self) -> None:
        if (self.value is None) != (self.basis == "unknown"):
            raise ValueError(f"a quantity of {self.value} cannot be {self.basis}")

    def times(self, factor: float, *, basis: Basis = "measured", about: str = "") -> Quantity:
        """So many times as much; the weaker of both bases."""
        if self.value is None:
            return self
        weaker = max(self.basis, basis, key=_WEAKEST.index)
        return Quantity(self.value * factor, weaker, "; ".join(filter(None, (self.about, about))))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"value": self.value, "basis": self.basis, **({"about": self.about} if self.about else {})}


def unknown(about: str) -> Quantity:
    """A number that nothing says; `about` says what would."""
    return Quantity(None, "unknown", about)


NOTHING = Quantity(0.0, "formula")
