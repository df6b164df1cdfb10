"""What all adapters share: a torch module read through hooks, on a device, in a stated precision."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from structure.pipeline.encoders.encoder import Encoder, Hidden, Layer, Visitor
from structure.pipeline.encoders.layer import Form, block_name
from structure.pipeline.encoders.precision import Precision, parameter_count
from structure.store.errors import StructureError

Emit = Callable[[str, torch.Tensor], None]
FORMS: dict[int, Form] = {2: "vector", 3: "tokens", 4: "map"}


@dataclass(frozen=True)
class EncodedBatch:
    """What goes into the network: named inputs on the encoder's device, and the mask of real tokens for texts."""

    inputs: Mapping[str, torch.Tensor]
    mask: torch.Tensor | None = None


@dataclass
class Taps:
    """The points a network is read at: its blocks in order, and the norm that follows the last one, if any.

    `sequence_first`: the blocks pass (token, batch, width) on. `embeds`: False where the first block takes the image
    itself, so that there is no embedding to read before it.
    """

    blocks: Sequence[nn.Module]
    norm: nn.Module | None = None
    sequence_first: bool = False
    embeds: bool = True

    @contextmanager
    def attached(self, emit: Emit, wanted: Container[str]) -> Iterator[None]:
        """Within: one forward pass emits `embed`, `block.NN` and `final_norm` where wanted, each as it appears."""
        handles = []
        last = len(self.blocks) - 1

        def out(name: str, values: torch.Tensor) -> None:
            emit(name, values.transpose(0, 1) if self.sequence_first else values)

        def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            out("embed", args[0] if args else kwargs["hidden_states"])

        def after(index: int) -> Callable[..., None]:
            def hook(_: nn.Module, __: Any, output: Any) -> None:
                values = output[0] if isinstance(output, tuple) else output
                if block_name(index) in wanted:
                    out(block_name(index), values)
                if index == last and self.norm is not None and "final_norm" in wanted:
                    out("final_norm", self.norm(values))

            return hook

        try:
            if self.embeds and "embed" in wanted:
                handles.append(self.blocks[0].register_forward_pre_hook(before, with_kwargs=True))
            for index, block in enumerate(self.blocks):
                if block_name(index) in wanted or index == last:
                    handles.append(block.register_forward_hook(after(index)))
            yield
        finally:
            for handle in handles:
                handle.remove()


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
        batch = self.collate(examples)
        with torch.inference_mode(), self.precision.autocast(self.device):
            self.read(batch, lambda name, values: visit(name, self._hidden(values, batch)), wanted=wanted)

    def _hidden(self, values: torch.Tensor, batch: EncodedBatch) -> Hidden:
        if values.ndim != 3:
            return Hidden(values)
        if batch.mask is not None:
            if values.shape[:2] != batch.mask.shape:
                raise StructureError(
                    f"{self.name} put out {tuple(values.shape)} for {tuple(batch.mask.shape)} tokens: tokens and "
                    "features no longer correspond, so that masked pooling would be wrong. This model cannot be read."
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

        with torch.inference_mode(), self.precision.autocast(self.device):
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
