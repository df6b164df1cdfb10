"""A gallery that is small is searched in memory: no file is opened, and no row converted, for a question."""

from __future__ import annotations

import numpy as np

from structure.pipeline.inference.gallery import SplitGallery
from structure.pipeline.similarity.knn.top_k import Gallery, GalleryArray

SMALL = 256 * 2**20
"""Bytes of a gallery in float32 up to which it is held."""


def searched(gallery: SplitGallery) -> Gallery:
    """The gallery to search: an array of its rows where it is small. Rows that are not usable are zeros there."""
    rows, width = gallery.shape
    if rows * width * 4 > SMALL:
        return gallery
    values = np.zeros((rows, width), dtype=np.float32)
    for numbers, block in gallery.blocks():
        values[numbers] = block
    return GalleryArray(values)
