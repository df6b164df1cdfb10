"""`open_clip:`: one tower of a contrastive model of open_clip, by architecture and weights or from a local folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from structure.pipeline.encoders.library import EncoderLibrary, refuse_revision
from structure.store.errors import UsageError

if TYPE_CHECKING:
    import torch

    from structure.pipeline.encoders.encoder import Encoder
    from structure.pipeline.encoders.precision import Amp
    from structure.pipeline.encoders.spec import Spec

LOCAL = "local-dir"


class OpenClipLibrary(EncoderLibrary):
    """`spec.model` is the architecture and `spec.weights` a pretrained tag or a weights file; or `spec.model` is
    `local-dir` and `spec.weights` a folder as open_clip writes it."""

    form = "open_clip:ARCH/PRETRAINED#visual, open_clip:local-dir:/folder#text"

    def parse(self, spec: Spec) -> Spec:
        if spec.body.startswith(f"{LOCAL}:"):
            path = Path(spec.body.removeprefix(f"{LOCAL}:"))
            stem, identity = path.expanduser().resolve().name, f"{LOCAL}:{path.name}"
            return replace(spec, model=LOCAL, weights=str(path), stem=stem, identity=identity)
        model, _, weights = spec.body.partition("/")
        if not weights:
            raise UsageError(
                f"'{spec}' names no weights. Write open_clip:{model}/PRETRAINED#visual, as in laion2b_s34b_b79k."
            )
        path = Path(weights)
        stem = f"{model}/{path.stem if path.is_absolute() else weights}"
        return replace(spec, model=model, weights=weights, stem=stem, identity=f"{model}/{path.name}")

    def load(
        self, spec: Spec, *, device: torch.device, amp: Amp, revision: str | None, trust_remote_code: bool
    ) -> Encoder:
        from structure.pipeline.encoders import open_clip_encoder

        refuse_revision(spec, revision if spec.model == LOCAL else None)
        return open_clip_encoder.load(spec, device=device, amp=amp, revision=revision)

    def outline(self, spec: Spec, *, revision: str | None, trust_remote_code: bool) -> Encoder:
        from structure.pipeline.encoders import open_clip_encoder

        return open_clip_encoder.from_name(spec)

    def find_weights(self, spec: Spec, *, revision: str | None) -> Path | None:
        if spec.model == LOCAL:
            path = Path(spec.weights).expanduser()
            return path if path.exists() else None
        from structure.pipeline.encoders import open_clip_encoder

        return open_clip_encoder.present(spec.model, spec.weights, revision=revision)

    def preprocessing(self, spec: Spec, *, revision: str | None) -> str:
        from structure.pipeline.encoders import open_clip_encoder

        return open_clip_encoder.preprocessing_words(spec)
