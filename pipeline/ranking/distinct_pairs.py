"""The pairs that are ranked: every image and every text once."""

from __future__ import annotations

from structure.pipeline.pairing.pairs import PairedRows, pair_rows
from structure.pipeline.similarity.deduplicate import deduplicate
from structure.store import FeatureSet, Samples, Store


def distinct_pairs(store: Store, vision: FeatureSet, text: FeatureSet) -> tuple[PairedRows, int]:
    """The pairs without those whose image or text repeats an earlier one, and how many were left out for that."""
    rows = pair_rows(store, vision, text)
    samples = store.samples(vision.manifest.dataset, vision.manifest.split)
    digests = [digest or None for _, digest in samples.digests.values()]
    distinct = deduplicate([digests[item] for item in rows.items], [_text(samples, item) for item in rows.items])
    return rows.take(distinct.rows), distinct.duplicates


def _text(samples: Samples, item: int) -> str | None:
    text: str | None = samples.table["text"][int(samples.first_rows[item])].as_py()
    return text
