"""How many more pairs would help: the forecast of a ranking, where it has one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from structure.pipeline.page.blocks import Finding
from structure.pipeline.page.source import Source

TOPIC = "More pairs"


def forecast(source: Source) -> Iterator[Finding]:
    """Of the newest ranking that has one: what it expects now and of more pairs, or why it expects nothing."""
    found = [each.document["forecast"] for each in source.rankings if each.document.get("forecast")]
    if not found:
        return
    document: Mapping[str, Any] = found[-1]
    if document.get("none"):
        yield Finding(TOPIC, f"No forecast: {document['none']}.")
        return
    here, points = document["pairs_there"], document["points"]
    now = max((point for point in points if point["pairs"] <= here), key=lambda point: point["pairs"], default=None)
    more = [point for point in points if point["pairs"] > here]
    words = f"Forecast of {document['metric']} among {document['gallery']:,} pairs (chance {document['chance']:.3f}), "
    words += f"by {document['method']} on the most similar layers: {_listed([now] if now else [], more)}."
    if now and more:
        words += f" {_gain(now, more[0])}"
    yield Finding(TOPIC, words)


def _listed(now: Sequence[Mapping[str, Any]], more: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(
        f"{point['pairs']:,} pairs {point['value']:.2f} [{point['low']:.2f}, {point['high']:.2f}]"
        f"{' (measured)' if point.get('measured') else ''}"
        for point in (*now, *more)
    )


def _gain(now: Mapping[str, Any], then: Mapping[str, Any]) -> str:
    """What the next number of pairs adds, and whether the forecast is sure of it."""
    gain = f"{then['pairs']:,} pairs in place of {now['pairs']:,} would add about {then['value'] - now['value']:+.2f}"
    sure = then["low"] > now["high"]
    return f"{gain}." if sure else f"{gain}, which the forecast is not sure of: the two intervals overlap."
