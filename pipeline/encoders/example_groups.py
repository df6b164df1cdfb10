"""Which examples go through a network together, so that a row never depends on its neighbours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch

from structure.pipeline.encoders.encoder import Hidden
from structure.store.errors import StructureError

Grouping = Literal["batch", "equal length", "single"]
"""All of a batch, padded to the longest; those of equal length, without padding; or each alone."""

Encode = Callable[[Sequence[Any]], Mapping[str, torch.Tensor]]


def find_grouping(encode: Encode, short: Sequence[Any], long: Any, *, most: float, name: str) -> Grouping:
    """The largest groups in which no row moves by more than rounding: the norm of the difference over the norm of the
    features stays at or below `most` in every layer.

    `encode`: examples to features, {layer: (batch, width)}. `short`: two different examples of equal length; `long`: a
    longer one, or any other where all examples have one length. Raises StructureError where the same example alone
    gives different features each time.
    """
    alone = [encode([example]) for example in (*short, long)]
    if _move(encode([short[0]]), alone[:1], most=most):
        raise StructureError(
            f"{name} gives other features each time it is run on the same input: it draws random numbers, so that "
            "nothing computed from them could be repeated. Take another model."
        )
    if _hold(encode, [short[0], long], [alone[0], alone[2]], most=most):
        return "batch"
    return "equal length" if _hold(encode, short, alone[:2], most=most) else "single"


def _hold(encode: Encode, examples: Sequence[Any], alone: Sequence[Mapping[str, torch.Tensor]], *, most: float) -> bool:
    """Whether the examples can be encoded in one batch, and give the same features there as alone."""
    try:
        return not _move(encode(examples), alone, most=most)
    except StructureError:  # networks that string all examples together
        return False


def _move(together: Mapping[str, torch.Tensor], alone: Sequence[Mapping[str, torch.Tensor]], *, most: float) -> bool:
    """Whether a row of `together` differs from what `alone` has for it."""
    return any(
        bool((together[layer][row] - values[0]).norm() > most * values[0].norm().clamp(min=1e-12))
        for row, one in enumerate(alone)
        for layer, values in one.items()
    )


def groups(examples: Sequence[Any], grouping: Grouping) -> list[list[int]]:
    """The positions of the examples that go through the network together, shortest first."""
    if grouping == "single":
        return [[position] for position in range(len(examples))]
    if grouping == "batch":
        return [list(range(len(examples)))]
    of_length: dict[int, list[int]] = {}
    for position, example in enumerate(examples):
        of_length.setdefault(len(example), []).append(position)
    return [of_length[length] for length in sorted(of_length)]


def merge(parts: Sequence[tuple[list[int], Hidden]]) -> Hidden:
    """One layer's hidden states of several groups as those of the whole batch, each row at its position.

    Rows of tokens are padded on the right with zeros, which the mask leaves out.
    """
    order = torch.tensor([position for positions, _ in parts for position in positions])
    back = order.argsort().to(parts[0][1].values.device)
    values = [hidden.values for _, hidden in parts]
    masks = [hidden.mask for _, hidden in parts]
    if len({tuple(part.shape[1:]) for part in values}) > 1:
        longest = max(part.shape[1] for part in values)
        masks = [_longer(torch.ones(part.shape[:2], dtype=torch.bool, device=part.device), longest) for part in values]
        values = [_longer(part, longest) for part in values]
    known = [mask for mask in masks if mask is not None]
    return replace(parts[0][1], values=torch.cat(values)[back], mask=torch.cat(known)[back] if known else None)


def _longer(values: torch.Tensor, longest: int) -> torch.Tensor:
    """(batch, token, ...) padded with zeros to `longest` tokens."""
    out = values.new_zeros(values.shape[0], longest, *values.shape[2:])
    out[:, : values.shape[1]] = values
    return out
