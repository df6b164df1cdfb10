"""What a training run needs to go on where it was killed: one safetensors file, replaced whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from structure.store.files import Files
from structure.store.seals import MEMBER, Seal, SealError, closed, require_own

FORMAT = "structure-checkpoint-1"


@dataclass(frozen=True)
class Checkpoint:
    """Where a run keeps its state (a folder and the file's name), at most every `every` seconds; `identity` are JSON
    values that tell runs apart.

    A run that was killed and is started again with the same identity ends with the weights of an uninterrupted one.
    """

    folder: Files
    name: str
    identity: Mapping[str, Any]
    every: float = 30.0

    def of(self, phase: str) -> Checkpoint:
        """The checkpoint of another phase of the same run."""
        return Checkpoint(self.folder, f"{phase}.{self.name}", {**self.identity, "phase": phase}, self.every)

    def save(self, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
        """Replace the file. It is durable when the call returns."""
        from safetensors.torch import save

        header = {"format": FORMAT, "identity": _canonical(self.identity), "facts": json.dumps(facts)}
        header[MEMBER] = Seal.of(self.folder, self.name).blank
        # A copy of each: two names may share one storage, which the format does not allow.
        packed = save({name: value.detach().cpu().clone() for name, value in tensors.items()}, metadata=header)
        self.folder.write(self.name, closed(packed))

    def load(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | str | None:
        """Tensors and facts; None where there is no file; why it is of no use where it is another run's or damaged."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            packed = self.folder.read(self.name)
        except FileNotFoundError:
            return None
        try:
            require_own(packed, Seal.of(self.folder, self.name))
            header = _header(packed)
            if header.get("format") != FORMAT:
                return "it is of another version"
            if header.get("identity") != _canonical(self.identity):
                return "it is of a run with other data or options"
            return load(packed), json.loads(header["facts"])
        except SealError as error:
            return f"it {error}"
        except (SafetensorError, KeyError, ValueError, AttributeError, TypeError, RecursionError) as error:
            return f"it cannot be read ({error})"

    def remove(self) -> None:
        """Forget the run; it is finished."""
        self.folder.remove(self.name)


def _header(packed: bytes) -> dict[str, str]:
    """The metadata of a safetensors file: its length in eight bytes, then JSON."""
    length = int.from_bytes(packed[:8], "little")
    if not 0 < length <= len(packed) - 8:
        raise ValueError(f"{len(packed)} bytes, {length + 8} were to be read")
    header: dict[str, str] = json.loads(packed[8 : 8 + length]).get("__metadata__", {})
    return header


def _canonical(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True)
