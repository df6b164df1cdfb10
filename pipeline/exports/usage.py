"""Python that shows how an exported model is used, for its README; each runs in the export's folder as it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from structure.pipeline.aligners.aligner import Aligner

MODEL = """\
from PIL import Image
from structure.pipeline import AlignedModel
model = AlignedModel.load(".")
images = model.encode_images([Image.new("RGB", (64, 64), "red")])  # or paths of image files
print(model.similarity(images, model.encode_texts(["a red square", "a cat"])))"""
"""A folder with an aligner's record, whose encoders are on this machine."""


def features_usage(aligner: Aligner, line: str, load: str) -> str:
    """Features in, similarities out; stand-ins of the shapes of real features."""
    images, texts = (_ones(width, tokens=aligner.takes_tokens) for width in aligner.widths)
    return (
        f"import numpy as np\n{line}\naligner = {load}\n"
        f"images, texts = aligner.embed_images({images}), aligner.embed_texts({texts})\n"
        "print(aligner.similarity(images, texts))"
    )


def _ones(width: int, *, tokens: bool) -> str:
    return f"np.ones((2, {'3, ' if tokens else ''}{width}), np.float32)"
