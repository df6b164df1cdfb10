"""What a feature row was computed from, as keys that are equal for equal content: which rows of other sets are the same
images or texts."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from structure.store import FeatureSet, Store
from structure.store.withdrawn import withdrawn_rows

Keys = tuple[Hashable, ...]


def content_of_samples(store: Store, features: FeatureSet, items: np.ndarray) -> set[Hashable]:
    """All keys of these samples (numbers) of a feature set's dataset split: themselves, their images' digests, and
    every caption that they have."""
    manifest = features.manifest
    samples = store.samples(manifest.dataset, manifest.split)
    chosen = np.zeros(len(samples), dtype=bool)
    chosen[items] = True
    ids, digests = samples.item_ids, [digest for _, digest in samples.digests.values()]
    found: set[Hashable] = set()
    for item in np.flatnonzero(chosen).tolist():
        found |= {_sample_key(features, ids[item]), *_image_key(digests[item])}
    of_caption = samples.item_of_caption()
    captions = samples.texts()
    return found | {("text", captions[row]) for row in np.flatnonzero(chosen[of_caption]).tolist()}


def rows_there(store: Store, features: FeatureSet) -> np.ndarray:
    """Ascending rows of a feature set that could be read, but for those of withdrawn samples."""
    samples = store.samples(features.manifest.dataset, features.manifest.split)
    return np.setdiff1d(np.flatnonzero(features.valid), withdrawn_rows(features, samples))


def content_of_rows(store: Store, features: FeatureSet, rows: np.ndarray) -> list[Keys]:
    """The keys of each feature row: its sample's first, then that of its image or its text, where it is known."""
    manifest = features.manifest
    samples = store.samples(manifest.dataset, manifest.split)
    ids = samples.item_ids
    if manifest.rows_of == "captions":
        of_row, texts = samples.item_of_caption(manifest.captions), samples.texts(manifest.captions)
        return [(_sample_key(features, ids[of_row[row]]), ("text", texts[row])) for row in rows.tolist()]
    if features.modality == "text":
        firsts = samples.first_texts
        return [(_sample_key(features, ids[item]), ("text", firsts[item])) for item in rows.tolist()]
    digests = [digest for _, digest in samples.digests.values()]
    of_rows = (rows // manifest.views).tolist()
    return [(_sample_key(features, ids[item]), *_image_key(digests[item])) for item in of_rows]


def _sample_key(features: FeatureSet, item: str) -> Keys:
    return ("sample", features.manifest.dataset, features.manifest.split, item)


def _image_key(digest: str) -> tuple[Keys, ...]:
    return (("image", digest),) if digest else ()
