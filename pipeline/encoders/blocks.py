"""Where a network is read: its list of blocks, how they are called, and the norm that follows the last of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from structure.pipeline.encoders.taps import first_tensor
from structure.store.errors import StructureError

_CLS_NORMS = frozenset({"post_layernorm"})
"""Final norms that a library applies to the CLS token alone (the CLIP family): a norm works token by token."""


def find_blocks(tower: nn.Module, *, depth: int | None, name: str) -> list[nn.Module]:
    """The blocks of a Hugging Face tower in order: the outermost `ModuleList` as long as the config says it is deep.

    Without a stated depth, or where none fits it, the longest outermost list. Raises `StructureError` where that is
    no single list.
    """
    lists: dict[str, nn.ModuleList] = {}
    for path, module in tower.named_modules():
        nested = any(path.startswith(outer + ".") for outer in lists)
        if isinstance(module, nn.ModuleList) and len(module) and not nested:
            lists[path] = module
    fitting = {path: blocks for path, blocks in lists.items() if len(blocks) == depth} or lists
    longest = max((len(blocks) for blocks in fitting.values()), default=0)
    chosen = [path for path, blocks in fitting.items() if len(blocks) == longest]
    if len(chosen) != 1:
        shown = ", ".join(f"{path} ({len(blocks)})" for path, blocks in lists.items()) or "none"
        raise blocks_unknown(name, f"its lists of modules are {shown}, its config says {depth}")
    return list(lists[chosen[0]])


def blocks_unknown(name: str, why: str) -> StructureError:
    """The answer where the blocks of a network cannot be told."""
    return StructureError(
        f"The blocks of {name} cannot be told: {why}. Layers would get wrong names. Extract features elsewhere and "
        "bring them in with `structure import`."
    )


@dataclass(frozen=True)
class Trace:
    """What one pass showed of the blocks: `shapes` of the hidden states that each call returned, in order, and the
    `norm` that the network applies to the last block's tokens (None without one)."""

    shapes: Sequence[tuple[int, ...]]
    norm: nn.Module | None

    @property
    def calls(self) -> int:
        """How often blocks were called."""
        return len(self.shapes)


def trace_blocks(module: nn.Module, blocks: Sequence[nn.Module], run: Callable[[], object]) -> Trace:
    """Watch the blocks of `module` in one pass of `run()`.

    The norm is the first one after the last call that is given tokens (batch, token, width), outside of pooling heads;
    or one that is known to be given the CLS token alone. None where the blocks put out feature maps: there a norm is
    part of what makes the pooled vector.
    """
    inside = {part for block in blocks for part in block.modules()}
    shapes: list[tuple[int, ...]] = []
    norms: list[tuple[str, nn.Module, int]] = []

    def watch(path: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def hook(part: nn.Module, args: tuple[Any, ...], _: Any) -> None:
            if args and isinstance(args[0], torch.Tensor):
                norms.append((path, part, args[0].ndim))

        return hook

    def leave(_: nn.Module, __: Any, output: Any) -> None:
        shapes.append(tuple(first_tensor(output).shape))
        norms.clear()

    handles = [block.register_forward_hook(leave) for block in dict.fromkeys(blocks)]
    for path, part in module.named_modules():
        if _is_norm(part) and part not in inside and not _in_head(path):
            handles.append(part.register_forward_hook(watch(path)))
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    if not shapes or len(shapes[-1]) != 3:
        return Trace(shapes, None)
    return Trace(shapes, next((part for path, part, ndim in norms if _follows(path, ndim)), None))


def _is_norm(part: nn.Module) -> bool:
    """Whether a module is a norm by its name, and not a network that is named after one (RobertaPreLayerNorm)."""
    return "Norm" in type(part).__name__ and sum("Norm" in type(inner).__name__ for inner in part.modules()) == 1


def _follows(path: str, ndim: int) -> bool:
    return ndim == 3 or (ndim == 2 and path.rpartition(".")[2] in _CLS_NORMS)


def _in_head(path: str) -> bool:
    return any("pool" in part or part.startswith("head") for part in path.split("."))
