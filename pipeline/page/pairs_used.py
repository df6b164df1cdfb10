"""How many pairs an aligner was trained on, said the same way everywhere on the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from structure.pipeline.page.blocks import plural


def pairs_used(facts: Mapping[str, Any]) -> int:
    """All pairs that a training had: those that it fitted and those of its validation. 0 where that is not known."""
    return int(facts.get("refit_pairs") or (facts.get("pairs") or 0) + (facts.get("validation_pairs") or 0))


def pairs_in_words(facts: Mapping[str, Any]) -> str:
    """`2,400 pairs (240 for validation)`, of the metadata of an aligner; "" where that is not known."""
    count, validation = pairs_used(facts), facts.get("validation_pairs") or 0
    if not count:
        return ""
    told = [f"{validation:,} for validation"] if validation else []
    told += ["then refitted to all"] if facts.get("refit_pairs") else []
    return plural(count, "pair") + (f" ({', '.join(told)})" if told else "")
