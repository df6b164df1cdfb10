"""`timm:`: vision models of timm with their own weights from the hub, or with weights from a folder or file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from structure.pipeline.encoders import hub
from structure.pipeline.encoders.image_preprocessing import IMAGE_OPTIONS
from structure.pipeline.encoders.library import EncoderLibrary, refuse_revision
from structure.store.errors import UsageError

if TYPE_CHECKING:
    import torch

    from structure.pipeline.encoders.encoder import Encoder
    from structure.pipeline.encoders.precision import Amp
    from structure.pipeline.encoders.spec import Spec


class TimmLibrary(EncoderLibrary):
    """`spec.model` is the architecture with its tag, `spec.weights` a folder or file, "" for timm's own weights."""

    form = "timm:NAME, timm:NAME@/folder"
    options = IMAGE_OPTIONS

    def parse(self, spec: Spec) -> Spec:
        if spec.tower:
            raise UsageError(f"'{spec}': a timm model has no towers. Write timm:{spec.body}.")
        model, _, weights = spec.body.partition("@")
        identity = f"{model}@{Path(weights).name}" if weights else model
        return replace(spec, model=model, weights=weights, identity=identity)

    def load(
        self, spec: Spec, *, device: torch.device, amp: Amp, revision: str | None, trust_remote_code: bool
    ) -> Encoder:
        from structure.pipeline.encoders import timm_encoder

        refuse_revision(spec, revision if spec.weights else None)
        return timm_encoder.load(spec, device=device, amp=amp, revision=revision)

    def outline(self, spec: Spec, *, revision: str | None, trust_remote_code: bool) -> Encoder:
        from structure.pipeline.encoders import timm_encoder

        return timm_encoder.from_name(spec)

    def find_weights(self, spec: Spec, *, revision: str | None) -> Path | None:
        if spec.weights:
            path = Path(spec.weights).expanduser()
            return path if path.exists() else None
        return hub.cached(f"timm/{spec.model}", revision=revision, anchors=hub.HF_WEIGHTS)

    def preprocessing(self, spec: Spec, *, revision: str | None) -> str:
        from structure.pipeline.encoders import timm_encoder

        return timm_encoder.preprocessing_words(spec)

    def origin(self, spec: Spec) -> str:
        return "" if spec.weights else f"huggingface.co/timm/{spec.model}"
