"""Several vectors a sample: the tokens of an image or a text, or the views and captions of an entity."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch

from structure.pipeline.aligners.arrays import Array, as_tensor
from structure.pipeline.finite_rows import finite_rows
from structure.store.errors import StructureError


@dataclass(frozen=True)
class Padded:
    """`values` (rows, longest, width) of any float dtype; `mask` (rows, longest) bool, True = real.

    Padding may hold anything, NaN included. The first `prefix` places of an image are no patches (CLS, registers).
    """

    values: torch.Tensor
    mask: torch.Tensor
    prefix: int = 0

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or self.mask.shape != self.values.shape[:2]:
            raise ValueError(f"values {tuple(self.values.shape)} and mask {tuple(self.mask.shape)} do not fit")

    def __len__(self) -> int:
        return len(self.values)

    @property
    def width(self) -> int:
        return int(self.values.shape[2])

    @property
    def device(self) -> torch.device:
        return self.values.device

    def __getitem__(self, rows: slice | np.ndarray | torch.Tensor) -> Padded:
        return replace(self, values=self.values[rows], mask=self.mask[rows])

    def take(self, rows: slice | np.ndarray | torch.Tensor) -> Padded:
        """Those rows."""
        return self[rows]

    def to(self, device: str | torch.device) -> Padded:
        return replace(self, values=self.values.to(device), mask=self.mask.to(device))

    def first(self) -> torch.Tensor:
        """(rows, width): the first real vector of each row."""
        return self.values[torch.arange(len(self), device=self.mask.device), self.mask.int().argmax(dim=1)]


@dataclass(frozen=True)
class Ragged:
    """The same without padding: row i is `values[offsets[i]:offsets[i + 1]]`; `values` (total, width), `offsets`
    (rows + 1,) int64. This is how the store keeps tokens."""

    values: torch.Tensor
    offsets: torch.Tensor
    prefix: int = 0

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def width(self) -> int:
        return int(self.values.shape[1])

    def take(self, rows: slice | np.ndarray | torch.Tensor) -> Padded:
        """Those rows, padded to the longest of them."""
        home = self.offsets.device
        chosen = torch.arange(len(self))[rows].to(home)
        starts = self.offsets[chosen]
        lengths = self.offsets[chosen + 1] - starts
        longest = int(lengths.max()) if len(chosen) else 0
        places = torch.arange(longest, device=home)
        mask = places < lengths[:, None]
        if bool(mask.all()):
            index = starts[:, None] + places
        else:
            index = torch.where(mask, starts[:, None] + places, 0)
        home = self.values.device
        values = self.values[index.flatten().to(home)].view(len(chosen), longest, self.width)
        return Padded(values, mask.to(home), self.prefix)


Sequences: TypeAlias = Padded | Ragged


def as_sequences(features: Any, *, mask: Array | None = None, prefix: int = 0, what: str = "token") -> Sequences:
    """What callers may pass as tokens: `Padded`, `Ragged`, tokens of the store, or a (rows, token, width) array.

    Raises StructureError for anything else: a pooled layer is (rows, width) and means something else.
    """
    if isinstance(features, Padded | Ragged):
        return features
    if hasattr(features, "offsets") and hasattr(features, "values"):
        return Ragged(as_tensor(features.values), as_tensor(features.offsets), int(features.prefix))
    if getattr(features, "ndim", 0) != 3:
        shape = tuple(getattr(features, "shape", ()))
        raise StructureError(
            f"{what} features must be (rows, token, width) for this aligner; these have shape {shape}. It was trained "
            "on the tokens of a layer: take features.tokens(layer), extracted with --tokens."
        )
    values = as_tensor(features)
    real = torch.ones(values.shape[:2], dtype=torch.bool, device=values.device) if mask is None else as_tensor(mask)
    return Padded(values, real.to(values.device, torch.bool), prefix)


def check_sequences(sequences: Sequences, what: str, *, width: int | None = None) -> None:
    """Raises StructureError unless every row has a vector, all are finite and of the width expected; names the row."""
    if width is not None and sequences.width != width:
        raise StructureError(
            f"{what} tokens are {sequences.width} wide; this aligner was made for {width}. "
            "Take the layer it was trained on (`structure align` prints it), or train another aligner."
        )
    step = 256
    for start in range(0, len(sequences), step):
        part = sequences.take(slice(start, start + step))
        empty = ~part.mask.any(dim=1)
        if bool(empty.any()):
            bad = start + int(torch.nonzero(empty)[0])
            raise StructureError(
                f"Row {bad} of the {what} tokens has no real token: there is nothing to pool. Leave skipped rows out."
            )
        broken = (~finite_rows(part.values) & part.mask).any(dim=1)
        if bool(broken.any()):
            bad = start + int(torch.nonzero(broken)[0])
            raise StructureError(
                f"Row {bad} of the {what} tokens holds a NaN or an infinity; every head would learn nothing else. "
                "Run `structure store verify`, or extract this feature set again."
            )
