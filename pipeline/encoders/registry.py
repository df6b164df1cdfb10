"""The encoder libraries by the prefix of a model's name."""

from __future__ import annotations

from structure.pipeline.encoders.library import EncoderLibrary
from structure.pipeline.encoders.spec import Spec
from structure.pipeline.registry import Registry

ENCODER_LIBRARIES: Registry[type[EncoderLibrary]] = Registry(
    "encoder library",
    "structure.encoders",
    {
        "hf": "structure.pipeline.encoders.libraries.transformers:TransformersLibrary",
        "timm": "structure.pipeline.encoders.libraries.timm:TimmLibrary",
        "open_clip": "structure.pipeline.encoders.libraries.open_clip:OpenClipLibrary",
        "bundled": "structure.pipeline.encoders.libraries.bundled:BundledLibrary",
    },
)


def library_of(spec: Spec) -> EncoderLibrary:
    """The library that loads the model."""
    return ENCODER_LIBRARIES[spec.library]()
