"""What a ranking is made from, as one digest: where it is the same, a saved ranking is read and not made again."""

from __future__ import annotations

from dataclasses import asdict

from structure.pipeline.ranking.options import RankingOptions
from structure.store import FeatureSet, Samples, Store
from structure.store.fingerprint import fingerprint

METHOD = 1
"""To be raised where a change of the code changes what a ranking or its forecast says."""


def made_from(store: Store, sets: tuple[FeatureSet, FeatureSet], options: RankingOptions, *, forecast: bool) -> str:
    """Hex digest of every stored value of both sides, their samples, and how they are ranked; from small files alone,
    so that it takes no time that grows with the features."""
    data = sets[0].manifest
    return fingerprint(
        {
            "method": METHOD,
            "options": asdict(options),
            "forecast": forecast,
            "samples": Samples.checksum(store.files, data.dataset, data.split),
            "sides": [[features.key, features.fingerprint, features.content()] for features in sets],
        }
    )
