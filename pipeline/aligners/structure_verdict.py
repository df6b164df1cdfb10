"""The diagnosis of R_S on some pairs as a value: its numbers, the verdict, and what that means. Imports no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

INERT, CONFLICT = 0.05, 1.0
"""Nats of the bound below which R_S did nothing and above which it cost retrieval, on five sets (see `docs`)."""

MEANINGS = {
    "inert": "R_S has hardly any gradient: both neighbourhoods are nearly the identity, or alike already",
    "fits": "R_S can hold without spoiling the alignment",
    "in conflict": "images and texts have different neighbourhoods, and no aligned space can keep both: R_S pulls "
    "against the contrastive loss",
}

SAID = {"inert": "is inert", "fits": "fits", "in conflict": "is in conflict with the alignment"}


@dataclass(frozen=True)
class StructureDiagnosis:
    """`js`: mean JS(P_V, P_T) in nats, at most log 2, of the frozen neighbourhoods in a batch of `rows`; the mean
    diagonals of both P; `bound` in nats: what weighted R_S costs at least in a space where both sides coincide;
    `text_within`: share of the variance of text features within samples, where these have several captions."""

    js: float
    vision_diagonal: float
    text_diagonal: float
    bound: float
    rows: int
    text_within: float | None = None

    @property
    def verdict(self) -> str:
        """inert, fits, or in conflict."""
        return "inert" if self.bound < INERT else "in conflict" if self.bound > CONFLICT else "fits"

    def sentence(self) -> str:
        """All of it for a reader."""
        within = "" if self.text_within is None else f", text variance within samples {self.text_within:.0%}"
        return (
            f"On these pairs R_S {SAID[self.verdict]}: {MEANINGS[self.verdict]}. weight/2 * JS(P_V, P_T) is "
            f"{self.bound:.2f} nats (below {INERT} inert, above {CONFLICT:g} in conflict); JS {self.js:.4f}, mean "
            f"diagonal {self.vision_diagonal:.3f} of P_V, {self.text_diagonal:.3f} of P_T in a batch of "
            f"{self.rows:,}{within}."
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "verdict": self.verdict}
