"""Undo damage: what follows from the manifest is written again, what does not is made due again."""

from __future__ import annotations

import json

from structure.store.errors import DamageError
from structure.store.feature_set import FeatureSet
from structure.store.files import Files
from structure.store.manifest import ATTRIBUTE, Manifest, zarr_documents
from structure.store.samples import Samples
from structure.store.verify import Fault


def recover_manifest(files: Files, prefix: str) -> FeatureSet:
    """Open a feature set; a manifest that is missing or damaged is restored from its copy in the zarr attributes.

    Raises DamageError where both copies are damaged, FileNotFoundError where neither is there.
    """
    try:
        return FeatureSet.open(files, prefix)
    except (DamageError, FileNotFoundError) as error:
        try:
            body = json.loads(files.read(f"{prefix}/zarr.json"))["attributes"][ATTRIBUTE]
        except (ValueError, KeyError, TypeError):
            raise DamageError(
                f"{prefix}: both copies of the manifest are damaged ({error}). Remove the folder and extract again."
            ) from None
    manifest = Manifest.from_json(json.dumps(body).encode(), source=f"{prefix}/zarr.json")
    files.write(f"{prefix}/manifest.json", manifest.to_json())
    return FeatureSet(files, prefix, manifest)


def mend(features: FeatureSet, samples: Samples, faults: list[Fault]) -> FeatureSet:
    """Write the metadata again and make every damaged shard due; `samples` must be the rows it was made from.

    Good shards are not touched. Filling what is due then gives the bytes that were there before.
    """
    manifest = features.manifest
    ids = samples.row_ids(manifest.rows_of, manifest.captions)[: manifest.rows]
    if any(fault.part != "shard" for fault in faults):
        for name, data in zarr_documents(manifest, ids).items():
            features.files.write(f"{features.prefix}/{name}", data)
    for index in {fault.shard for fault in faults if fault.shard is not None}:
        features.files.remove(f"{features.prefix}/done/{index:06d}.json")
    return FeatureSet(features.files, features.prefix, manifest)
