"""Features of samples without a partner: other feature sets of the encoders that are aligned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from structure.store import FeatureSet, Store
from structure.store.errors import StructureError
from structure.store.fingerprint import differences
from structure.store.joined_rows import has_layers, layer_rows


def unpaired_rows(
    store: Store, names: Sequence[str], sets: tuple[FeatureSet, FeatureSet], layers: tuple[str, str]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """(m, dv) and (k, dt) of the named feature sets, None for a side that none is of.

    A name is `DATASET`, `DATASET/SPLIT` or `DATASET/SPLIT/ENCODER`; sets of other encoders are not meant. Raises
    StructureError where a name means no set of either encoder, or one that lacks the layer.
    """
    found: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    there = store.feature_sets()
    for name in names:
        named = named_sets(store, [name])
        fitting = [(side, f) for f in named for side in (0, 1) if _same_encoder(f, sets[side])]
        if not fitting:
            listed = ", ".join(f.key for f in there if any(_same_encoder(f, one) for one in sets))
            raise StructureError(
                f"--unpaired {name}: the store has no features of {sets[0].manifest.encoder} or "
                f"{sets[1].manifest.encoder} under that name. Of these encoders it has {listed}."
            )
        for side, features in fitting:
            layer = layers[side]
            if not has_layers(features, layer) or not features.is_complete:
                raise StructureError(
                    f"--unpaired {name}: {features.key} has no complete layer {layer} ({features.state}). "
                    "Extract it with the same --layers."
                )
            found[side].append(np.asarray(layer_rows(features, layer, np.flatnonzero(features.valid))[:]))
    first, second = (np.concatenate(parts) if parts else None for parts in found)
    return first, second


def named_sets(store: Store, names: Sequence[str]) -> list[FeatureSet]:
    """The feature sets that the names mean, of any encoder."""
    there = store.feature_sets() if names else []
    return [features for features in there if any(f"{features.key}/".startswith(f"{name}/") for name in names)]


def _same_encoder(features: FeatureSet, other: FeatureSet) -> bool:
    mine, theirs = features.manifest, other.manifest
    return mine.modality == theirs.modality and not differences(mine.identity["encoder"], theirs.identity["encoder"])
