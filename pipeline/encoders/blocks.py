"""Where a network is read: its list of blocks, and the norm that follows the last of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

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
        raise StructureError(
            f"The blocks of {name} cannot be told: its lists of modules are {shown}, its config says {depth}. "
            "Layers would get wrong names. Extract features elsewhere and bring them in with `structure import`."
        )
    return list(lists[chosen[0]])


def find_norm(module: nn.Module, blocks: Sequence[nn.Module], run: Callable[[], object]) -> nn.Module | None:
    """The norm that the network applies to the last block's tokens, seen in one pass of `run()`; None without one,
    and where the blocks put out feature maps: there a norm is part of what makes the pooled vector.

    It is the first norm after the last block that is given tokens (batch, token, width), outside of pooling heads; or
    one that is known to be given the CLS token alone.
    """
    inside = {part for block in blocks for part in block.modules()}
    passed: list[int] = []
    seen: list[tuple[str, nn.Module, int]] = []

    def watch(path: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def hook(part: nn.Module, args: tuple[Any, ...], _: Any) -> None:
            if passed and args and isinstance(args[0], torch.Tensor):
                seen.append((path, part, args[0].ndim))

        return hook

    def leave(_: nn.Module, __: Any, output: Any) -> None:
        passed.append((output[0] if isinstance(output, tuple) else output).ndim)

    handles = [blocks[-1].register_forward_hook(leave)]
    for path, part in module.named_modules():
        if "Norm" in type(part).__name__ and part not in inside and not _in_head(path):
            handles.append(part.register_forward_hook(watch(path)))
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    if passed != [3]:
        return None
    for path, part, ndim in seen:
        if ndim == 3 or (ndim == 2 and path.rpartition(".")[2] in _CLS_NORMS):
            return part
    return None


def _in_head(path: str) -> bool:
    return any("pool" in part or part.startswith("head") for part in path.split("."))
