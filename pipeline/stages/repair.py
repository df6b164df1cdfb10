"""Repair a feature set: metadata are written again, and only the damaged shards are encoded again, byte for byte."""

from __future__ import annotations

from dataclasses import dataclass

from structure.pipeline.extraction.sample_index import SampleIndex, open_rows
from structure.pipeline.extraction.stored_or_extracted import EncoderRecord, FeatureSource
from structure.pipeline.keyword_form import keyword_form
from structure.pipeline.run_context import RunContext
from structure.store import FeatureSet
from structure.store.errors import DamageError, FingerprintError, StructureError
from structure.store.repair import repair_features
from structure.store.verify import Fault


@dataclass(frozen=True)
class Repaired:
    """What was wrong, and how many rows were encoded again."""

    key: str
    faults: tuple[Fault, ...]
    rows: int


@dataclass(frozen=True)
class RepairRequest:
    """Find every fault of the feature set `key` (`<dataset>/<split>/<encoder>`) and repair it."""

    key: str


def run(request: RepairRequest, context: RunContext) -> Repaired:
    """Find every fault of a feature set and repair it.

    The sample index is read from the dataset again where it is damaged; the encoder on record encodes the damaged
    shards. Raises StructureError where the data or the encoder are not those that the features were made from, or are
    not here; what can be repaired without them is repaired first.
    """
    target, key = context.store, request.key
    features = target.recover(key)
    faults = features.verify()
    if not faults:
        return Repaired(key, (), 0)
    for fault in faults[:10]:
        context.note(str(fault))
    source = FeatureSource(context)
    rows = _rows(context, features)
    lengths = None
    if any(fault.part == "lengths" for fault in faults):
        lengths = source.token_lengths(EncoderRecord.of(features), rows, features)
    features = repair_features(features, rows.samples, faults, lengths)
    pending = sum(len(shard) for shard in features.pending())
    if pending:
        source.refill(EncoderRecord.of(features), rows, features)
    left = target[key].verify()
    if left:
        raise DamageError(f"{key} still has {len(left)} faults after the repair; the first: {left[0]}")
    return Repaired(key, tuple(faults), pending)


def _rows(context: RunContext, features: FeatureSet) -> SampleIndex:
    """The rows that the features were made from; they must be the same."""
    manifest = features.manifest
    spec = str((manifest.provenance or {}).get("dataset_spec", ""))
    try:
        samples = context.store.samples(manifest.dataset, manifest.split)
        damaged = samples.digest(manifest.rows_of, manifest.captions) != manifest.identity["data"]["digest"]
    except StructureError:
        damaged = True
    if not spec:
        if damaged:
            raise DamageError(
                f"The sample index of {manifest.dataset}/{manifest.split} is damaged and no dataset can make it again. "
                "Import the features again, or remove the prompts' features and evaluate again."
            )
        return SampleIndex(samples, None, "")
    base, _, limit = manifest.split.partition(".first")
    rows = open_rows(context, spec, split=base, limit=int(limit) if limit else None)
    if rows.samples.digest(manifest.rows_of, manifest.captions) != manifest.identity["data"]["digest"]:
        raise FingerprintError(
            f"{spec} is no longer the data that {features.key} was made from, so its rows cannot be encoded again. "
            "Restore the data, or choose another --store."
        )
    return rows


repair = keyword_form("repair", RepairRequest, run, about="Repair a feature set, byte for byte.")
