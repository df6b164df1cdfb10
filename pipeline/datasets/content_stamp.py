"""Whether data are still what they were, known without reading an image."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from structure.pipeline.datasets.loading import open_dataset
from structure.store.errors import BadSampleError, NotPresentError


def content_stamp(spec: str, *, split: str | None, data_root: str | Path, limit: int | None = None) -> str:
    """Hex SHA-256 over ids, captions, labels, classes and file stamps, of masks too, of a split's samples (the first
    `limit`), in order.

    It changes with anything that an extraction or evaluation reads, as far as names, texts, sizes and times tell.
    "" where the data are not on this machine. Raises as `open_dataset` for data that cannot be used.
    """
    try:
        dataset = open_dataset(spec, split=split, data_root=data_root)
    except NotPresentError:
        return ""
    digest = hashlib.sha256()
    tasks = {name: [task.classes, task.templates] for name, task in dataset.tasks.items()}
    meaning = dataset.pixels.identity()
    masks = [dataset.mask_classes] if dataset.mask_classes and not dataset.formula else []
    _add(digest, [dataset.name, dataset.split, dataset.kind, tasks, *([meaning] if meaning else []), *masks])
    count = len(dataset) if limit is None else min(limit, len(dataset))
    if dataset.formula:
        _add(digest, [dataset.formula, count])
        return digest.hexdigest()
    for index in range(count):
        try:
            item = dataset.item(index)
            mask = [dataset.mask_stamp(index)] if masks else []
            _add(digest, [item.id, item.captions, dict(item.labels), dataset.stamp(index), *mask])
        except BadSampleError as error:
            _add(digest, [error.item, error.reason])
    return digest.hexdigest()


def _add(digest: hashlib._Hash, value: object) -> None:
    digest.update(json.dumps(value, sort_keys=True).encode() + b"\0")
