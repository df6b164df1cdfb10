"""What an encoder library says of itself. Each is one class in one file below `libraries/`, or in another package."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from structure.store.errors import StructureError, UsageError

if TYPE_CHECKING:
    import torch

    from structure.pipeline.encoders.encoder import Encoder
    from structure.pipeline.encoders.precision import Amp
    from structure.pipeline.encoders.spec import Spec
    from structure.pipeline.encoders.tokens import TextPreprocess


class EncoderLibrary(ABC):
    """What is known of the models that share a prefix. Importing the class imports no deep learning library: its
    methods do. Only `form` and `load` are required.

    `form`: how a name is written, as shown in help. `options`: which of `model_names.OPTIONS` its models take.
    """

    form: ClassVar[str]
    options: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def load(
        self, spec: Spec, *, device: torch.device, amp: Amp, revision: str | None, trust_remote_code: bool
    ) -> Encoder:
        """The encoder with its weights on `device`, its `provenance` complete; arguments as of `load_encoder`.

        Raises `NotPresentError` where weights are neither here nor to be had, `StructureError` for a model that does
        not exist or cannot be read, `UsageError` for a revision that cannot apply, `DamageError` for broken files.
        """

    def outline(self, spec: Spec, *, revision: str | None, trust_remote_code: bool) -> Encoder:
        """The encoder without its weights: layers and widths only, it cannot encode. Raises as `load`.

        A library that cannot build a model without weights loads it, as here.
        """
        import torch

        return self.load(
            spec, device=torch.device("cpu"), amp="off", revision=revision, trust_remote_code=trust_remote_code
        )

    def parse(self, spec: Spec) -> Spec:
        """`spec`, whose `model` is all of its `body`, with `model`, `weights`, `stem` and `identity` as they are meant.

        Raises `UsageError` for a form that does not exist.
        """
        return spec

    def with_weights(self, spec: Spec, path: Path, *, in_order: bool) -> Spec:
        """The same model with the weights that lie at `path` on this machine; `in_order` as of `Spec`."""
        return replace(spec, weights=str(path), identity=spec.identity or spec.model, in_order=in_order)

    def find_weights(self, spec: Spec, *, revision: str | None) -> Path | None:
        """The folder or file on this machine that holds the weights, None where they are not; no network is asked."""
        return None

    def preprocessing(self, spec: Spec, *, revision: str | None) -> str:
        """How inputs are prepared, in words; "" where that is not known without files that are not on this machine."""
        return ""

    def origin(self, spec: Spec) -> str:
        """Where weights that are not on this machine come from, for people; "" where nobody says."""
        return ""

    def tokenizer(self, spec: Spec, *, trust_remote_code: bool) -> TextPreprocess:
        """How a text model cuts texts into tokens, without its weights. Raises `StructureError` where that cannot be
        read alone."""
        raise StructureError(f"{spec} has no tokenizer that is read alone. Name an hf: or bundled: text model.")

    def known_names(self) -> tuple[str, ...]:
        """Model names after the prefix that can be offered at once, without importing the library."""
        return ()


def refuse_revision(spec: Spec, revision: str | None) -> None:
    """Raise `UsageError` where a revision is asked of a model that lies in a local folder."""
    if revision is not None:
        raise UsageError(f"--revision {revision} pins a hub repository, but {spec} is a local folder. Leave it out.")


def files_stamp(path: Path) -> str:
    """What changes when the files of a model may have changed: their names, sizes and times, as a digest; for a
    snapshot of the hub its commit. Nothing is read."""
    if path.parent.name == "snapshots":
        return path.name
    files = [path] if path.is_file() else sorted(entry for entry in path.iterdir() if entry.is_file())
    facts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr(facts).encode()).hexdigest()
