"""Images and texts by which two forms of one model are compared, and the aligner's own embeddings of them."""

from __future__ import annotations

import numpy as np
from PIL import Image

from structure.pipeline.exports.side import ExportedSide
from structure.pipeline.extraction.batches import tokenize

PROBE_TEXTS = (
    "a photo of a cat",
    "two red circles left of a small blue square",
    "x",
    "Красный круг, 红色的圆 — un cercle rouge!",
    "a small dog that runs over a green field near the sea " * 60,
)
"""Short and long, in several scripts, and one that most encoders cut."""


def probe_images() -> list[Image.Image]:
    """Three RGB images of noise in other shapes, the same every time."""
    random = np.random.default_rng(0)
    shapes = ((48, 64, 3), (97, 61, 3), (256, 256, 3))
    return [Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)) for shape in shapes]


def ours(side: ExportedSide) -> np.ndarray:
    """(probes, dim) float32 unit rows, from encoder and head as they are."""
    if side.which == "text":
        examples = tokenize(side.encoder, list(PROBE_TEXTS))
    else:
        examples = [side.encoder.preprocess(image) for image in probe_images()]
    return np.asarray(side.embed(examples).cpu().numpy())
