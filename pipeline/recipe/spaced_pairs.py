"""Layer pairs of a ranking: the best one, or some spread over the whole range of similarity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from structure.store.errors import StructureError


def layer_pair(ranking: Mapping[str, Any]) -> tuple[str, str]:
    """The chosen (vision layer, text layer)."""
    return ranking["best"]["vision_layer"], ranking["best"]["text_layer"]


def similarity(ranking: Mapping[str, Any], vision: str, text: str) -> float | None:
    """The score of a pair of layers; None where the metric is undefined for it, or a side is several layers."""
    if vision not in ranking["vision"]["layers"] or text not in ranking["text"]["layers"]:
        return None
    row = ranking["vision"]["layers"].index(vision)
    score: float | None = ranking["scores"][row][ranking["text"]["layers"].index(text)]
    return score


def spaced_pairs(ranking: Mapping[str, Any], count: int) -> list[tuple[str, str]]:
    """`count` pairs of layers at even steps of the range of similarity, each once, the least similar first.

    The first and the last are the least and the most similar of all; between them the pair nearest to each step that is
    not taken yet. Pairs with a layer that the ranking found constant are left out. Raises StructureError where there
    are fewer than `count`.
    """
    constant = ranking["constant"]
    pairs = [
        (score, vision, text)
        for vision, row in zip(ranking["vision"]["layers"], ranking["scores"], strict=True)
        for text, score in zip(ranking["text"]["layers"], row, strict=True)
        if score is not None and vision not in constant["vision"] and text not in constant["text"]
    ]
    if len(pairs) < count:
        raise StructureError(
            f"The ranking has {len(pairs)} pairs of layers that vary, and the recipe spreads {count} over them. "
            f"Lower 'spread' to {len(pairs)} or less."
        )
    pairs.sort()
    scores = np.array([score for score, *_ in pairs])
    chosen = {0, len(pairs) - 1}
    for target in np.linspace(scores[0], scores[-1], count)[1:-1]:
        rest = [rank for rank in range(len(pairs)) if rank not in chosen]
        chosen.add(min(rest, key=lambda rank: (abs(scores[rank] - target), rank)))
    return [(vision, text) for _, vision, text in (pairs[rank] for rank in sorted(chosen))]
