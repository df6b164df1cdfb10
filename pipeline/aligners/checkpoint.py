"""What a training run needs to go on where it was killed: one safetensors file, replaced whole."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

FORMAT = "structure-checkpoint-1"


@dataclass(frozen=True)
class Checkpoint:
    """Where a run keeps its state, at most every `every` seconds; `identity` are JSON values that tell runs apart.

    A run that was killed and is started again with the same identity ends with the weights of an uninterrupted one.
    """

    path: Path
    identity: Mapping[str, Any]
    every: float = 30.0

    def of(self, phase: str) -> Checkpoint:
        """The checkpoint of another phase of the same run."""
        return Checkpoint(
            self.path.with_name(f"{phase}.{self.path.name}"), {**self.identity, "phase": phase}, self.every
        )

    def save(self, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
        """Replace the file. It is durable when the call returns."""
        from safetensors.torch import save

        header = {"format": FORMAT, "identity": _canonical(self.identity), "facts": json.dumps(facts)}
        # A copy of each: two names may share one storage, which the format does not allow.
        packed = save({name: value.detach().cpu().clone() for name, value in tensors.items()}, metadata=header)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            with open(partial, "wb") as file:
                file.write(packed)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self.path)
        finally:
            partial.unlink(missing_ok=True)

    def load(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | str | None:
        """Tensors and facts; None where there is no file; why it is of no use where it is another run's or damaged."""
        from safetensors import SafetensorError, safe_open

        if not self.path.is_file():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                header = file.metadata() or {}
                if header.get("format") != FORMAT:
                    return "it is of another version"
                if header.get("identity") != _canonical(self.identity):
                    return "it is of a run with other data or options"
                return {name: file.get_tensor(name) for name in file.keys()}, json.loads(header["facts"])  # noqa: SIM118
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            return f"it cannot be read ({error})"

    def remove(self) -> None:
        """Forget the run; it is finished."""
        self.path.unlink(missing_ok=True)


def _canonical(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True)
