"""A variant of a recipe that cannot be trained."""

from __future__ import annotations

from structure.store.errors import StructureError


class VariantError(StructureError):
    """A variant that cannot be trained: the other variants of the recipe can go on without it."""

    def __init__(self, variant: str, seed: int, why: str) -> None:
        super().__init__(f"{variant}: {why}")
        self.variant, self.seed, self.why = variant, seed, why

    def row(self) -> dict[str, str]:
        """Flat JSON values."""
        return {"variant": self.variant, "seed": str(self.seed), "why": self.why}
