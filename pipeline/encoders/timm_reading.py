"""How the layers of a timm network are read: block by block through hooks, or where timm itself reads them."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from structure.pipeline.encoders.layer import block_name
from structure.pipeline.encoders.library_errors import library_errors
from structure.pipeline.encoders.taps import Emit, Taps
from structure.store.errors import StructureError


@dataclass(frozen=True)
class Reading:
    """`taps` for networks read block by block, else `stages`; tokens have `prefix` and `grid`, maps neither."""

    taps: Taps | None = None
    stages: Stages | None = None
    prefix: int = 0
    grid: tuple[int, int] | None = None

    def features(self, module: Any, pixels: torch.Tensor, emit: Emit, wanted: Container[str]) -> torch.Tensor:
        """What `forward_features` returns, in one pass that also emits the wanted layers (all but `pooled`)."""
        if self.taps is None:
            assert self.stages is not None
            return self.stages.features(module, pixels, emit, wanted)
        with self.taps.attached(emit, wanted):
            features: torch.Tensor = module.forward_features(pixels)
        return features


@dataclass(frozen=True)
class Stages:
    """timm's own intermediates as feature maps `block.NN`; `embed` is the stem's output, where there is a stem.

    `names`: of the intermediates in order, the first may be `embed` itself. `stem`: the module whose output is `embed`
    where no intermediate is.
    """

    names: Sequence[str]
    stem: nn.Module | None

    def features(self, module: Any, pixels: torch.Tensor, emit: Emit, wanted: Container[str]) -> torch.Tensor:
        """See `Reading.features`."""
        channels_last = getattr(module, "output_fmt", "NCHW") == "NHWC"

        def stem(_: nn.Module, __: Any, values: Any) -> None:
            if isinstance(values, torch.Tensor):
                emit("embed", values.permute(0, 3, 1, 2) if channels_last and values.ndim == 4 else values)

        handle = self.stem.register_forward_hook(stem) if self.stem is not None and "embed" in wanted else None
        try:
            features, maps = module.forward_intermediates(pixels, output_fmt="NCHW", norm=False)
        finally:
            if handle is not None:
                handle.remove()
        for name, values in zip(self.names, maps, strict=True):
            if name in wanted:
                emit(name, values)
        return features  # type: ignore[no-any-return]


def find_reading(module: Any, pixels: torch.Tensor, *, name: str) -> Reading:
    """Find out with two passes over `pixels` (one image) how `module` can be read.

    Plain vision transformers (as many intermediates as blocks, all of one width) and networks of nested blocks that
    put out maps (MobileNet, EfficientNet) are read block by block; everything else by stages.
    """
    if not hasattr(module, "forward_intermediates"):
        raise StructureError(f"timm cannot read the layers of {name} ({type(module).__name__}). Take another model.")
    blocks, nested = _blocks(module)
    with library_errors(name, {"pixels": pixels}), torch.inference_mode():
        read = module.forward_intermediates(pixels, output_fmt="NCHW", intermediates_only=True)
        outputs = _outputs(module, blocks, pixels)
    maps = [tuple(out.shape) for out in read]
    if blocks and len(maps) == len(blocks) == len([shape for shape in outputs if len(shape) == 3]):
        grid = (maps[0][2], maps[0][3])
        prefix = outputs[0][1] - grid[0] * grid[1]
        if len(set(outputs)) == 1 and prefix >= 0:
            norm = getattr(module, "norm", None)
            return Reading(Taps(blocks, None if isinstance(norm, nn.Identity) else norm), prefix=prefix, grid=grid)
    if nested and all(len(shape) == 4 for shape in outputs):
        return Reading(Taps(blocks))
    return Reading(stages=_stages(module, len(maps)))


def _blocks(module: Any) -> tuple[list[nn.Module], bool]:
    """The blocks in order, and whether they were nested in stages."""
    blocks = getattr(module, "blocks", None)
    if not isinstance(blocks, nn.Sequential | nn.ModuleList):
        return [], False
    if all(isinstance(stage, nn.Sequential | nn.ModuleList) for stage in blocks):
        return [block for stage in blocks for block in stage], True  # type: ignore[attr-defined]
    return list(blocks), False


def _outputs(module: Any, blocks: Sequence[nn.Module], pixels: torch.Tensor) -> list[tuple[int, ...]]:
    """The shape of what each block puts out, () for what is no tensor."""
    shapes: list[tuple[int, ...]] = []

    def hook(_: nn.Module, __: Any, out: Any) -> None:
        shapes.append(tuple(out.shape) if isinstance(out, torch.Tensor) else ())

    handles = [block.register_forward_hook(hook) for block in blocks]
    try:
        if blocks:
            module.forward_features(pixels)
    finally:
        for handle in handles:
            handle.remove()
    return shapes


def _stages(module: Any, count: int) -> Stages:
    roots = [str(entry["module"]).split(".")[0].rstrip("0123456789_") for entry in module.feature_info]
    if len(roots) == count > 1 and roots[0] != roots[1]:
        return Stages(["embed", *map(block_name, range(count - 1))], stem=None)
    stem = getattr(module, "stem", None) or getattr(module, "patch_embed", None)
    return Stages(list(map(block_name, range(count))), stem=stem)
