"""What all adapters share: a torch module read through hooks, on a device, in a stated precision."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from structure.pipeline.encoders.arithmetic import default_arithmetic
from structure.pipeline.encoders.encoder import Encoder, Hidden, Layer, Visitor
from structure.pipeline.encoders.example_groups import Grouping, groups, merge
from structure.pipeline.encoders.layer import Form
from structure.pipeline.encoders.library_errors import library_errors
from structure.pipeline.encoders.precision import Precision, parameter_count
from structure.pipeline.encoders.taps import Emit
from structure.store.errors import StructureError

FORMS: dict[int, Form] = {2: "vector", 3: "tokens", 4: "map"}


@dataclass(frozen=True)
class EncodedBatch:
    """What goes into the network: named inputs on the encoder's device, and the mask of real tokens for texts."""

    inputs: Mapping[str, torch.Tensor]
    mask: torch.Tensor | None = None

    @property
    def rows(self) -> int:
        """How many examples there are."""
        return len(next(iter(self.inputs.values())))


class Everything(Container[str]):
    """The set that contains every name."""

    def __contains__(self, _: object) -> bool:
        return True


@dataclass
class ModuleOutputs:
    """What one probing pass saw: the layers in order, and the shape of each output for a batch of one."""

    layers: list[Layer] = field(default_factory=list)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)


class TorchEncoder(Encoder):
    """An encoder that is a torch module. Subclasses say how a batch is made and how it passes through the network."""

    device: torch.device
    precision: Precision
    prefix: int = 0
    grid: tuple[int, int] | None = None
    side: int = 0
    """Height of the images in pixels, 0 for text."""
    grouping: Grouping = "batch"
    pads_inside: bool = False
    """Whether the network pads its tokens on the right by itself and its library cuts that off (Longformer)."""
    module: nn.Module

    @property
    def parameters(self) -> int:
        return parameter_count(self.module)

    @property
    def input_size(self) -> int:
        return self.limit or self.side or 0

    @abstractmethod
    def collate(self, examples: Sequence[Any]) -> EncodedBatch:
        """Preprocessed examples as one batch on the device."""

    @abstractmethod
    def read(self, batch: EncodedBatch, emit: Emit, *, wanted: Container[str]) -> None:
        """Pass the batch through the network once; `emit(name, values)` for every wanted layer."""

    def forward(self, examples: Sequence[Any], visit: Visitor, *, wanted: Container[str]) -> None:
        """Examples go through the network in the groups of `grouping`; each layer is visited once, as a whole."""
        parts: dict[str, list[tuple[list[int], Hidden]]] = {}
        divided = groups(examples, self.grouping)
        for positions in divided:
            batch = self.collate([examples[position] for position in positions])

            def emit(name: str, values: torch.Tensor, batch: EncodedBatch = batch, at: list[int] = positions) -> None:
                hidden = self._hidden(name, values, batch)
                if len(divided) == 1:
                    visit(name, hidden)
                else:
                    # A copy: a network may go on to change its hidden states in place.
                    parts.setdefault(name, []).append((at, replace(hidden, values=hidden.values.clone())))

            with library_errors(self.name, batch.inputs), self._arithmetic():
                self.read(batch, emit, wanted=wanted)
        for name, layer in parts.items():
            visit(name, merge(layer))

    @contextmanager
    def _arithmetic(self) -> Iterator[None]:
        """Within: the network runs as it does when features are extracted."""
        with default_arithmetic(), torch.inference_mode(), self.precision.autocast(self.device):
            yield

    def _hidden(self, name: str, values: torch.Tensor, batch: EncodedBatch) -> Hidden:
        if len(values) != batch.rows:
            raise StructureError(
                f"{self.name} put out {tuple(values.shape)} in {name} for {batch.rows} examples: rows and examples do "
                "not correspond. This model cannot be read: extract features elsewhere and bring them in with "
                "`structure import`."
            )
        if values.ndim != 3:
            return Hidden(values)
        if batch.mask is not None:
            if self.pads_inside and values.shape[1] > batch.mask.shape[1]:
                values = values[:, : batch.mask.shape[1]]
            if values.shape[:2] != batch.mask.shape:
                raise StructureError(
                    f"{self.name} put out {tuple(values.shape)} for {tuple(batch.mask.shape)} tokens: tokens and "
                    "features no longer correspond, so that masked pooling would be wrong. This model cannot be read: "
                    "extract features elsewhere and bring them in with `structure import`."
                )
            return Hidden(values, mask=batch.mask.to(values.device))  # a spread model's layers lie on several devices
        if self.grid is not None and values.shape[1] == self.prefix + self.grid[0] * self.grid[1]:
            return Hidden(values, prefix=self.prefix, grid=self.grid)
        return Hidden(values)

    def probe(self, batch: EncodedBatch) -> ModuleOutputs:
        """One pass over a batch of one that finds what layers there are, in order of depth, and their widths."""
        outputs = ModuleOutputs()

        def emit(name: str, values: torch.Tensor) -> None:
            shape = tuple(values.shape)
            if len(shape) not in FORMS:
                raise StructureError(f"Layer {name} of {self.name} has shape {shape}: not tokens, a map or a vector.")
            form = FORMS[len(shape)]
            width = shape[1] if form == "map" else shape[-1]
            outputs.layers.append(Layer(name, width, form))
            outputs.shapes[name] = shape

        with library_errors(self.name, batch.inputs), self._arithmetic():
            self.read(batch, emit, wanted=Everything())
        return outputs


def stack_images(examples: Sequence[torch.Tensor], device: torch.device, *, channels_last: bool) -> torch.Tensor:
    """(batch, 3, height, width) float32 on `device`."""
    pixels = torch.stack(list(examples))
    if channels_last:
        pixels = pixels.contiguous(memory_format=torch.channels_last)
    return pixels.to(device, non_blocking=True)


def patch_grid(size: Sequence[int], patch: int | Sequence[int]) -> tuple[int, int]:
    """(rows, columns) of patches in an image of `size` (height, width)."""
    tall, wide = (patch, patch) if isinstance(patch, int) else (patch[0], patch[-1])
    return size[0] // tall, size[1] // wide
