"""How the background of a set of masks counts: one of three protocols, named in every result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

IGNORE = 255


@dataclass(frozen=True)
class MaskProtocol:
    """Which classes are asked about and how the background counts.

    `names` are those asked about; `number` maps the dataset's mask values to their place in it, 255 = ignored;
    `without` are left out of the mean.
    """

    names: tuple[str, ...]
    number: np.ndarray
    without: tuple[int, ...] = ()


def protocol_of(classes: tuple[str, ...], background: str) -> MaskProtocol:
    """`class`: the background is a class like any other. `left-out`: it may be predicted, its pixels are errors of
    others, but it is left out of the mean (PAL's repository on VOC and Context). `ignored`: its pixels count nowhere
    and nobody can predict it (the usual protocol of VOC20). Without a class `background` the three are one."""
    number = np.full(256, IGNORE, np.int64)
    there = [index for index, name in enumerate(classes) if name == "background"]
    kept = [index for index in range(len(classes)) if background != "ignored" or index not in there]
    number[kept] = np.arange(len(kept))
    without = tuple(int(number[index]) for index in there) if background == "left-out" else ()
    return MaskProtocol(tuple(classes[index] for index in kept), number, without)
