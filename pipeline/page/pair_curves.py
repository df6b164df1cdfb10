"""Recall over the number of pairs, of several methods."""

from __future__ import annotations

from structure.pipeline.page.blocks import Block, Chart, Section, Table, Text
from structure.pipeline.page.source import Source
from structure.pipeline.pair_curves.curve import SHOWN, PairCurve
from structure.pipeline.pair_curves.fits import chance

COLUMNS = {
    "pairs": "training pairs",
    "variant": "method",
    "value": SHOWN,
    "low": "low",
    "high": "high",
    "seeds": "seeds",
    "unpaired": "unpaired rows",
    "refused": "not fitted because",
}


def section(source: Source) -> Section:
    """The figure and the numbers of each curve, and its ceiling."""
    return Section(
        "pairs", "Few pairs", [block for name, curve in source.pair_curves.items() for block in _of(name, curve)]
    )


def _of(name: str, curve: PairCurve) -> list[Block]:
    facts, top = curve.facts, curve.ceiling(SHOWN)
    words = (
        f"{name}: {SHOWN} of both directions over {curve.test_pairs:,} test pairs of {facts['dataset']}, which no fit "
        f"has seen (chance {chance(SHOWN, curve.test_pairs):.3f})."
    )
    if top is not None:
        words += f" On all {curve.most:,} training pairs {top['variant']} is best, at {top['value']:.3f}."
    shown = [
        {**row, "unpaired": " + ".join(f"{count:,}" for count in row.get("unpaired", []) if count)}
        for row in curve.means(SHOWN)
    ]
    caption = f"{SHOWN} over training pairs, means over seeds with 95 % intervals"
    table = Table(f"{caption}: {name}", COLUMNS, shown, {"value": 3, "low": 3, "high": 3}, folded=True)
    described = "A line for each method over the number of training pairs, with chance and the ceiling."
    return [Text(words), Chart(caption, described, curve.spec(), table)]
