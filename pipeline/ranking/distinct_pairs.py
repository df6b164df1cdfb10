"""The pairs that are ranked: every image and every text once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from structure.pipeline.pairing.pairs import PairedRows, pair_rows
from structure.pipeline.pairing.sample_groups import group_values, numbered, whole_groups
from structure.pipeline.ranking.options import RankingOptions
from structure.pipeline.similarity.deduplicate import deduplicate
from structure.pipeline.similarity.exchangeability import Exchangeability
from structure.store import FeatureSet, Store


def distinct_pairs(store: Store, vision: FeatureSet, text: FeatureSet) -> tuple[PairedRows, int]:
    """The pairs without those whose image or text repeats an earlier one, and how many were left out for that."""
    rows = pair_rows(store, vision, text)
    samples = store.samples(vision.manifest.dataset, vision.manifest.split)
    digests, captions = (samples.values(column, rows.items) for column in ("digest", "text"))
    distinct = deduplicate([digest or None for digest in digests], captions)
    return rows.take(distinct.rows), distinct.duplicates


@dataclass(frozen=True)
class RankedPairs:
    """The pairs that a ranking is of, which of them may be exchanged in its test, and how many samples were left out
    since they repeat another one."""

    rows: PairedRows
    exchange: Exchangeability
    duplicates: int


def ranked_pairs(store: Store, vision: FeatureSet, text: FeatureSet, options: RankingOptions) -> RankedPairs:
    """The distinct pairs, or the subset of them that the options ask for. Raises StructureError for a column of
    `group` that the sample index does not have, or whose groups allow no permutation."""
    pairs, duplicates = distinct_pairs(store, vision, text)
    groups = None
    if options.group is not None:
        samples = store.samples(vision.manifest.dataset, vision.manifest.split)
        groups = numbered(group_values(samples, pairs.items, options.group))
    chosen = _chosen(pairs, groups, options)
    if groups is not None:
        groups = np.unique(groups[chosen], return_inverse=True)[1].astype(np.int64)
    exchange = Exchangeability(len(chosen), groups, options.permute, options.group or "")
    if options.permutations and groups is not None:
        exchange.require_some()
    return RankedPairs(pairs.take(chosen), exchange, duplicates)


def _chosen(pairs: PairedRows, groups: np.ndarray | None, options: RankingOptions) -> np.ndarray:
    """Numbers of the pairs that are ranked: a seeded subset, of whole groups where there are any."""
    count = options.most_rows
    if count is None or count >= len(pairs):
        return np.arange(len(pairs))
    if groups is not None:
        return whole_groups(groups, count, seed=options.seed)
    return pairs.drawn(count, seed=options.seed)
