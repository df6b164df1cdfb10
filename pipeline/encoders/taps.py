"""The points a network is read at, through hooks: its blocks in the order of their calls, and the norm after them."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from structure.pipeline.encoders.layer import block_name
from structure.store.errors import StructureError

Emit = Callable[[str, torch.Tensor], None]


@dataclass
class Taps:
    """The points a network is read at: its blocks in order, and the norm that follows the last one, if any.

    `calls`: how often blocks are called in one pass, where one module is called several times (ALBERT's single block
    twelve times); 0 for once each. `sequence_first`: the blocks pass (token, batch, width) on. `channels_last`: they
    pass (batch, height, width, channel) on. `embeds`: False where the first block takes the image itself, so that
    there is no embedding to read before it.
    """

    blocks: Sequence[nn.Module]
    norm: nn.Module | None = None
    calls: int = 0
    sequence_first: bool = False
    channels_last: bool = False
    embeds: bool = True

    @contextmanager
    def attached(self, emit: Emit, wanted: Container[str]) -> Iterator[None]:
        """Within: one forward pass emits `embed`, `block.NN` and `final_norm` where wanted, each as it appears.

        Calls are numbered in their order. Raises StructureError where the pass called another number of blocks.
        """
        expected = self.calls or len(self.blocks)
        done = 0

        def out(name: str, values: torch.Tensor) -> None:
            if self.sequence_first and values.ndim == 3:
                values = values.transpose(0, 1)
            if self.channels_last and values.ndim == 4:
                values = values.permute(0, 3, 1, 2)
            emit(name, values)

        def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if done == 0:
                out("embed", first_input(args, kwargs))

        def after(_: nn.Module, __: Any, output: Any) -> None:
            nonlocal done
            index, done = done, done + 1
            last = done == expected and self.norm is not None and "final_norm" in wanted
            if not last and block_name(index) not in wanted:
                return
            values = first_tensor(output)
            if block_name(index) in wanted:
                out(block_name(index), values)
            if last and self.norm is not None:
                out("final_norm", self.norm(values))

        handles = []
        try:
            for block in dict.fromkeys(self.blocks):
                if self.embeds and "embed" in wanted:
                    handles.append(block.register_forward_pre_hook(before, with_kwargs=True))
                handles.append(block.register_forward_hook(after))
            yield
        finally:
            for handle in handles:
                handle.remove()
        if done != expected:
            raise StructureError(
                f"One pass called {done} blocks, and {expected} were found when the model was loaded: layers would get "
                "wrong names. Extract features elsewhere and bring them in with `structure import`."
            )


def first_input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    """The hidden states that a block is called with, by position or by name."""
    for value in (*args[:1], kwargs.get("hidden_states"), *args, *kwargs.values()):
        if isinstance(value, torch.Tensor) and value.is_floating_point() and value.ndim > 1:
            return value
    raise StructureError("A block is called without hidden states: the layer `embed` cannot be read.")


def first_tensor(output: Any) -> torch.Tensor:
    """The hidden states in what a block returns: the first tensor, of nested tuples and named outputs too."""
    while not isinstance(output, torch.Tensor):
        if isinstance(output, dict):
            output = list(output.values())
        if not isinstance(output, tuple | list) or not output:
            raise StructureError(
                f"A block returns {type(output).__name__}, in which no hidden states can be told: it cannot be read. "
                "Extract features elsewhere and bring them in with `structure import`."
            )
        output = output[0]
    return output
