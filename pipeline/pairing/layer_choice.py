"""Which layer of each side is aligned."""

from __future__ import annotations

from structure.pipeline.pairing.pairs import has_several
from structure.pipeline.pairing.vector_sets import require_one_layer, require_tokens, stored_tokens
from structure.pipeline.similarity.layer_similarity import best_layers, first_layers
from structure.store import FeatureSet, Store
from structure.store.errors import StructureError
from structure.store.joined_rows import layer_names


def pick_layers(
    store: Store, vision: FeatureSet, text: FeatureSet, layers: str, *, tokens: bool = False
) -> tuple[str, str, str]:
    """(vision layer, text layer, how they were chosen); with `tokens` layers whose tokens are stored.

    `layers` is "auto" (the newest ranking of these two feature sets; with `tokens` the first pair of it whose tokens
    are stored), "last" (the last block of each), or "<vision layer>,<text layer>", where a side may be several layers:
    "block.13+pooled,block.05". Raises StructureError for a layer that is not there.
    """
    if layers == "auto" and tokens and (chosen := _first_with_tokens(store, vision, text)):
        return chosen
    if layers == "auto":
        first, second, ranking = best_layers(store, plain(store, vision), plain(store, text))
        how = f"ranking {ranking}"
    elif layers == "last":
        first, second, how = last_block(vision), last_block(text), "the last of each"
    else:
        first, comma, second = (part.strip() for part in layers.partition(","))
        how = "given"
        if not comma:
            raise StructureError(f"--layers {layers!r}: write auto, last, or <vision layer>,<text layer>.")
    if tokens:  # of a layer that was pooled in several ways there is one set of tokens
        for features, layer in ((vision, first), (text, second)):
            require_one_layer(features, layer)
        first, second = first.partition("@")[0], second.partition("@")[0]
        require_tokens(vision, first)
        require_tokens(text, second)
        return first, second, how
    for features, layer in ((vision, first), (text, second)):
        layer_names(features, layer)
    return first, second, how


def _first_with_tokens(store: Store, vision: FeatureSet, text: FeatureSet) -> tuple[str, str, str] | None:
    """Of the layers whose tokens are stored the pair that the newest ranking has first, or the only one there is; None
    where a side has none."""
    ours, theirs = stored_tokens(vision), stored_tokens(text)
    if len(ours) == len(theirs) == 1:
        return ours[0], theirs[0], "the layers whose tokens are stored"
    if not (ours and theirs):
        return None
    ranked, ranking = first_layers(store, plain(store, vision), plain(store, text), None)
    pairs = ((first.partition("@")[0], second.partition("@")[0]) for first, second in ranked)
    both = next((pair for pair in pairs if pair[0] in ours and pair[1] in theirs), None)
    return None if both is None else (*both, f"ranking {ranking}, of the layers whose tokens are stored")


def last_block(features: FeatureSet) -> str:
    """The output of the last block (the residual stream before any final norm), else the last stored layer."""
    blocks = [name for name in features.layers if name.startswith("block.")]
    return (blocks or list(features.layers))[-1]


def plain(store: Store, features: FeatureSet) -> FeatureSet:
    """The set with one row a sample beside one with several, where there is one: it is the one that gets ranked."""
    if not has_several(features):
        return features
    manifest = features.manifest
    for other in store.feature_sets(dataset=manifest.dataset, split=manifest.split):
        same = all(other.manifest.identity[part] == manifest.identity[part] for part in ("encoder", "extraction"))
        if same and not has_several(other):
            return other
    return features
