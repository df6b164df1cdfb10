"""Digests of what a training left in the store: by them a later run knows whether it is still there."""

from __future__ import annotations

import hashlib

from structure.pipeline.aligners.aligner_runs import RECORD, WEIGHTS
from structure.store import Store


def aligner_digest(store: Store, name: str) -> str:
    """Over the aligner's weights and record; "" where one is missing."""
    whole = hashlib.sha256()
    for file in (WEIGHTS, RECORD):
        try:
            data = store.folder("aligners", name).read(file)
        except FileNotFoundError:
            return ""
        whole.update(hashlib.sha256(data).digest())
    return whole.hexdigest()


def weights_digest(store: Store, name: str) -> str:
    """Of the weights alone, which two variants may have in common."""
    return hashlib.sha256(store.folder("aligners", name).read(WEIGHTS)).hexdigest()
