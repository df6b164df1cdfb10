"""`hf:`: models of transformers, from a hub repository or a local folder."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from structure.pipeline.encoders import hub
from structure.pipeline.encoders.device_placement import PLACEMENT_OPTIONS
from structure.pipeline.encoders.image_preprocessing import IMAGE_OPTIONS
from structure.pipeline.encoders.library import EncoderLibrary, refuse_revision
from structure.pipeline.encoders.text_prompt import PROMPT_OPTIONS
from structure.store.errors import NotPresentError, StructureError

if TYPE_CHECKING:
    import torch

    from structure.pipeline.encoders.encoder import Encoder
    from structure.pipeline.encoders.precision import Amp
    from structure.pipeline.encoders.spec import Spec
    from structure.pipeline.encoders.tokens import TextPreprocess


class TransformersLibrary(EncoderLibrary):
    """`spec.model` is a hub repository (`owner/name`) or the path of a folder."""

    form = "hf:NAME, hf:/folder"
    options = (*IMAGE_OPTIONS, *PLACEMENT_OPTIONS, *PROMPT_OPTIONS)

    def parse(self, spec: Spec) -> Spec:
        folder = self.folder(spec)
        if folder is None:
            if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", spec.model):
                raise StructureError(f"'{spec}' is neither a folder nor a hub repository (owner/name).")
            return spec
        name = folder.resolve().name
        return replace(spec, stem=name, identity=name)

    def folder(self, spec: Spec) -> Path | None:
        """The local folder that the spec names, present or not; None where it names a hub repository."""
        path = Path(spec.model).expanduser()
        return path if path.is_dir() or spec.model.startswith(("/", ".", "~")) else None

    def with_weights(self, spec: Spec, path: Path, *, in_order: bool) -> Spec:
        return replace(spec, model=str(path), identity=spec.identity or spec.model, in_order=in_order)

    def load(
        self, spec: Spec, *, device: torch.device, amp: Amp, revision: str | None, trust_remote_code: bool
    ) -> Encoder:
        from structure.pipeline.encoders import transformers_loading

        folder = self._present_folder(spec)
        if folder is None:
            folder = hub.snapshot(spec.model, revision=revision)
            # The snapshot's folder is named after the commit, which says more than the branch that was asked for.
            revision = folder.name
        else:
            refuse_revision(spec, revision)
        return transformers_loading.load(
            folder, spec, device=device, amp=amp, revision=revision, trust_remote_code=trust_remote_code
        )

    def outline(self, spec: Spec, *, revision: str | None, trust_remote_code: bool) -> Encoder:
        from structure.pipeline.encoders import transformers_loading

        folder = self._config_folder(spec, "a description needs its config.json", revision=revision)
        try:
            return transformers_loading.from_config(folder, spec, trust_remote_code=trust_remote_code)
        except StructureError as error:
            # Some networks look at values while they run (Longformer), which a model without weights does not have.
            if not isinstance(error.__cause__, RuntimeError) or self.find_weights(spec, revision=revision) is None:
                raise
        return super().outline(spec, revision=revision, trust_remote_code=trust_remote_code)

    def find_weights(self, spec: Spec, *, revision: str | None) -> Path | None:
        folder = self._present_folder(spec) or hub.cached(spec.model, revision=revision)
        return folder if folder is not None and hub.weights_in(folder) else None

    def preprocessing(self, spec: Spec, *, revision: str | None) -> str:
        folder = self._present_folder(spec) or hub.cached(spec.model, revision=revision)
        if folder is None:
            return ""
        from structure.pipeline.encoders import transformers_loading

        return transformers_loading.preprocessing_words(folder, spec)

    def origin(self, spec: Spec) -> str:
        return "" if self._present_folder(spec) else f"huggingface.co/{spec.model}"

    def tokenizer(self, spec: Spec, *, trust_remote_code: bool) -> TextPreprocess:
        from structure.pipeline.encoders import transformers_loading

        folder = self._config_folder(spec, "its tokenizer and config.json are needed", revision=None)
        return transformers_loading.load_tokenizer(folder, spec, trust_remote_code=trust_remote_code)

    def _present_folder(self, spec: Spec) -> Path | None:
        """The local folder; None for a hub repository. Raises `NotPresentError` for a folder that is not there."""
        folder = self.folder(spec)
        if folder is not None and not folder.is_dir():
            raise NotPresentError(f"{folder} is not a folder on this machine. Check the path in {spec}.")
        return folder

    def _config_folder(self, spec: Spec, why: str, *, revision: str | None) -> Path:
        """The folder with config.json, local or in the hub's cache. Raises `NotPresentError` without one."""
        folder = self._present_folder(spec) or hub.cached(spec.model, revision=revision)
        if folder is None:
            raise hub.not_present(spec.model, why, revision=revision)
        return folder
