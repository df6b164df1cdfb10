"""What R_S did on this test, and what the diagnosis of the frozen features said before training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from structure.pipeline.aligners.option_groups import StructureOptions
from structure.pipeline.aligners.structure_verdict import StructureDiagnosis
from structure.pipeline.metrics.intervals import signed
from structure.pipeline.page.blocks import Finding
from structure.pipeline.page.leaderboard import Leaderboard, Standing
from structure.pipeline.page.metric_names import display_name
from structure.pipeline.page.source import Source

MOST = 2
"""Comparisons of a variant with itself without R_S that are told."""

APART = {*StructureOptions.__annotations__, "seed", "device", "learning_rate"}
"""Options in which a variant and the same without R_S may differ; of several runs the first finds the rate of all."""


def structure_effect(source: Source, board: Leaderboard) -> Iterator[Finding]:
    """The diagnosis, and the paired difference of variants that differ in R_S alone."""
    names = [standing.result.aligner for standing in board.standings]
    words = [finding.words for finding in diagnosis(source, names)]
    words += list(_measured(source, board))[:MOST]
    if words:
        yield Finding("R_S", " ".join(words))


def diagnosis(source: Source, names: Sequence[str]) -> Iterator[Finding]:
    """That of the first of the aligners that has one."""
    for name in names:
        found = source.aligners[name].get("structure_diagnosis")
        if found:
            facts = {key: value for key, value in found.items() if key != "verdict"}
            yield Finding("R_S", StructureDiagnosis(**facts).sentence())
            return


def _measured(source: Source, board: Leaderboard) -> Iterator[str]:
    for standing in board.standings:
        options = _options(source, standing)
        if options.get("regulariser") != "structure":
            continue
        twin = next((each for each in board.standings if _is_same_without(source, standing, each)), None)
        margin = None if twin is None else board.margin(standing, twin)
        if twin is not None and margin is not None:
            clear = "" if margin.is_significant else ", not statistically significant"
            yield (
                f"Measured on this test, {standing.variant} minus {twin.variant}, which is the same without R_S: "
                f"{display_name(board.metric)} {signed(margin.value, margin.low, margin.high)}{clear}."
            )


def _is_same_without(source: Source, standing: Standing, other: Standing) -> bool:
    one, two = _options(source, standing), _options(source, other)
    if two.get("regulariser") != "none":
        return False
    facts = [source.aligners[each.result.aligner] for each in (standing, other)]
    same = all(facts[0].get(key) == facts[1].get(key) for key in ("layers", "data", "pairs", "fingerprints"))
    return same and {k: v for k, v in one.items() if k not in APART} == {k: v for k, v in two.items() if k not in APART}


def _options(source: Source, standing: Standing) -> Mapping[str, Any]:
    options: Mapping[str, Any] = source.aligners[standing.result.aligner].get("options", {})
    return options
