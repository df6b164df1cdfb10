"""`bundled:`: the small models of transformers that this package brings, trained on generated scenes."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from structure.pipeline.encoders.libraries.transformers import TransformersLibrary
from structure.store.errors import unknown

if TYPE_CHECKING:
    from structure.pipeline.encoders.spec import Spec


class BundledLibrary(TransformersLibrary):
    """`spec.model` is the name of a folder in `encoders/bundled`."""

    form = "bundled:scenes-vit"

    def parse(self, spec: Spec) -> Spec:
        if spec.model not in self.known_names():
            raise unknown("bundled model", spec.model, self.known_names())
        return spec

    def folder(self, spec: Spec) -> Path:
        return self._root() / spec.model

    def known_names(self) -> tuple[str, ...]:
        return tuple(sorted(entry.name for entry in self._root().iterdir() if (entry / "config.json").is_file()))

    def _root(self) -> Path:
        return Path(str(files("structure.pipeline.encoders"))) / "bundled"
