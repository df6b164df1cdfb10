"""Whether the layers that were read are the ones that the library itself calls its hidden states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from structure.pipeline.encoders.blocks import blocks_unknown

TOLERANCE = 1e-3
"""Norm of the difference over the norm of the library's values: the two come from one pass, so that they are equal to
the last bit but where the library copies, casts or cuts."""


def confirm_hidden_states(ours: Mapping[str, torch.Tensor], theirs: Sequence[torch.Tensor], *, name: str) -> bool:
    """Whether `theirs`, the library's hidden states of the same pass, confirm `ours`, the layers in order of depth.

    Each of theirs but the first and the last must be one of ours, in order, and where theirs are as many as our blocks
    each block but the last must be among them. Their first may be what precedes `embed` (the image itself), their last
    what follows `final_norm`. False where there are too few to tell. Raises StructureError where they contradict.
    """
    blocks = [layer for layer in ours if layer.startswith("block.")]
    names, met, position = list(ours), set[str](), 0
    for index, state in enumerate(theirs):
        same = next((at for at in range(position, len(names)) if _equal(ours[names[at]], state)), None)
        if same is not None:
            met.add(names[same])
            position = same + 1
        elif 0 < index < len(theirs) - 1:
            raise blocks_unknown(
                name, f"hidden state {index} of the library's {len(theirs)} is none of the {len(blocks)} blocks found"
            )
    if len(theirs) < 3:
        return False
    missed = [layer for layer in blocks[:-1] if layer not in met]
    if missed and len(theirs) >= len(blocks):
        raise blocks_unknown(name, f"{missed[0]} is none of the library's {len(theirs)} hidden states")
    return True


def _equal(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    forms = [ours]
    if ours.ndim == 4:  # libraries hand maps on as (batch, height, width, channel) or as tokens, too
        forms += [ours.permute(0, 2, 3, 1), ours.flatten(2).transpose(1, 2)]
    return any(form.shape == theirs.shape and _near(form, theirs) for form in forms)


def _near(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    ours, theirs = ours.float().nan_to_num(), theirs.to(ours.device).float().nan_to_num()
    return bool((ours - theirs).norm() <= TOLERANCE * theirs.norm())
