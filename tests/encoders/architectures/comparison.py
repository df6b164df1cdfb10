"""What is compared: each layer with the library's own values, and the rows of a batch with single examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from structure.pipeline.encoders.encoder import Encoder, Hidden
from structure.pipeline.encoders.pooling import pool

TOLERANCE = 2e-4
"""Norm of the difference over the norm of the library's values."""


@dataclass(frozen=True)
class Verdict:
    """`kind`: "equal", "refused" (in words), "different", "stopped" (an exception that is no answer) or "not built".

    `facts` say what was read: modality, pooling by default, poolings, forms of the layers.
    """

    kind: str
    why: str = ""
    facts: Mapping[str, str] = field(default_factory=dict, compare=False)


def of_faults(encoder: Encoder, faults: Sequence[str]) -> Verdict:
    """Equal where there is no fault."""
    facts = {
        "modality": encoder.modality,
        "default": encoder.default_pooling,
        "poolings": ", ".join(encoder.poolings),
        "forms": ", ".join(dict.fromkeys(layer.form for layer in encoder.layers)),
    }
    return Verdict("different" if faults else "equal", "; ".join(dict.fromkeys(faults)), facts)


def read(encoder: Encoder, examples: Sequence[Any]) -> dict[str, tuple[Hidden, torch.Tensor]]:
    """Every layer of one batch: as it was visited, and its mean over tokens or pixels (batch, width)."""
    seen: dict[str, tuple[Hidden, torch.Tensor]] = {}

    def visit(name: str, hidden: Hidden) -> None:
        values = hidden.values.float().clone()  # a network may go on to change its hidden states in place
        mean = values if values.ndim == 2 else pool(values, "mean", mask=hidden.mask, prefix=hidden.prefix)
        seen[name] = (Hidden(values, hidden.mask, hidden.prefix, hidden.grid), mean)

    encoder.forward(examples, visit, wanted=frozenset(layer.name for layer in encoder.layers))
    return seen


def near(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Whether two tensors have one shape and the same values but for rounding."""
    if ours.shape != theirs.shape:
        return False
    return bool((ours.float() - theirs.float()).norm() <= TOLERANCE * (theirs.float().norm() + 1e-6))


def batch_faults(encoder: Encoder, examples: Sequence[Any]) -> list[str]:
    """The layers in which a row of the batch is not the row that the example alone has."""
    together, alone = read(encoder, examples), [read(encoder, [example]) for example in examples]
    rows = {layer: torch.cat([one[layer][1] for one in alone]) for layer in together}
    return [f"{layer} moves in a batch" for layer, (_, mean) in together.items() if not near(mean, rows[layer])]


def order_faults(ours: Mapping[str, torch.Tensor], theirs: Sequence[torch.Tensor], *, spare: set[int]) -> list[str]:
    """The library's values, by index, that are none of ours in order; those at `spare` may be none."""
    names, position, faults = list(ours), 0, []
    for index, values in enumerate(theirs):
        same = next((at for at in range(position, len(names)) if _same(ours[names[at]], values)), None)
        if same is not None:
            position = same + 1
        elif index not in spare:
            faults.append(f"the library's value {index} of {len(theirs)} is none of the layers")
    return faults


def _same(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Maps are (batch, channel, height, width) here; some libraries put the channels last."""
    return near(ours, theirs) or (ours.ndim == 4 and near(ours.permute(0, 2, 3, 1), theirs))
