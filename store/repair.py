"""Undo damage: what follows from the manifest is written again, what does not is made pending again."""

from __future__ import annotations

import json

import numpy as np

from structure.store.completion_markers import CompletionMarkers
from structure.store.errors import DamageError
from structure.store.feature_set import FeatureSet
from structure.store.files import Files
from structure.store.manifest import ATTRIBUTE, Manifest, lengths_digest, require_own
from structure.store.sample_table import Samples
from structure.store.verify import Fault
from structure.store.zarr_metadata import zarr_documents


def recover_manifest(files: Files, prefix: str) -> FeatureSet:
    """Open a feature set; a manifest that is missing or damaged is restored from its copy in the zarr attributes.

    Raises DamageError where both copies are damaged, FileNotFoundError where neither is there.
    """
    try:
        return FeatureSet.open(files, prefix)
    except (DamageError, FileNotFoundError) as error:
        try:
            body = json.loads(files.read(f"{prefix}/zarr.json"))["attributes"][ATTRIBUTE]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise DamageError(
                f"{prefix}: both copies of the manifest are damaged ({error}). Remove the folder and extract again."
            ) from None
    manifest = Manifest.from_json(json.dumps(body).encode(), source=f"{prefix}/zarr.json")
    require_own(manifest, prefix, source=f"{prefix}/zarr.json")
    files.write(f"{prefix}/manifest.json", manifest.to_json())
    return FeatureSet(files, prefix, manifest)


def repair_features(
    features: FeatureSet, samples: Samples, faults: list[Fault], lengths: np.ndarray | None = None
) -> FeatureSet:
    """Write the metadata again and make every damaged shard pending; `samples` must be the rows it was made from.

    `lengths` are the token counts of its texts, needed where one of the faults is in them. Raises DamageError where
    they are others than before.

    Good shards are not touched. Filling what is pending then gives the bytes that were there before.
    """
    manifest = features.manifest
    ids = samples.row_id_array(manifest.rows_of, manifest.captions, manifest.views)[: manifest.rows]
    if any(fault.part != "shard" for fault in faults):
        lengths = features.token_lengths if lengths is None else lengths
        if lengths is not None and lengths_digest(lengths) != manifest.lengths:
            raise DamageError(
                f"{features.key}: the tokenizer cuts the texts into other tokens than those that are stored, so they "
                "cannot be told apart any more. Put the same tokenizer back, or remove the folder and extract again."
            )
        for name, data in zarr_documents(manifest, ids, lengths).items():
            features.files.write(f"{features.prefix}/{name}", data)
    markers = CompletionMarkers(features.files, features.prefix, manifest)
    for index in {fault.shard for fault in faults if fault.shard is not None}:
        markers.remove(index)
    return FeatureSet(features.files, features.prefix, manifest)
