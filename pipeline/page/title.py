"""The page's title: which data, and which encoders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from structure.pipeline.page.source import Source

MOST = 2
"""Names of a kind that a title has room for."""


def title(source: Source) -> str:
    """`icons: efficientnet-lite0 and minilm`; of what was aligned, else ranked, else extracted. The store's name where
    there is nothing yet."""
    found = list(_aligned(source)) or list(_ranked(source)) or list(_extracted(source))
    data, encoders = (list(dict.fromkeys(pair[side] for pair in found if pair[side])) for side in (0, 1))
    if not data:
        return source.store.url.rstrip("/").rpartition("/")[2]
    return f"{_listed(data)}: {_listed(encoders)}" if encoders else _listed(data)


def _aligned(source: Source) -> Iterator[tuple[str, str]]:
    for facts in source.aligners.values():
        data = str(facts.get("data", {}).get("dataset", ""))
        for side in ("vision", "text"):
            yield data, str(facts.get("encoders", {}).get(side, {}).get("name", ""))


def _ranked(source: Source) -> Iterator[tuple[str, str]]:
    for ranking in source.rankings:
        for side in ("vision", "text"):
            yield ranking.document["dataset"], ranking.document[side]["model"]


def _extracted(source: Source) -> Iterator[tuple[str, str]]:
    of_training = [features for features in source.features if features.manifest.split == "train"]
    for features in sorted(of_training or source.features, key=lambda each: each.modality != "vision"):
        yield features.manifest.dataset, features.manifest.encoder


def _listed(names: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and 3 more`."""
    first, rest = list(names)[:MOST], list(names)[MOST:]
    if rest:
        return f"{', '.join(first)} and {len(rest)} more"
    return " and ".join(first)
