"""Which objective a method trains: fresh heads of its kind, drawn from the seed."""

from __future__ import annotations

from typing import Any

import torch

from structure.pipeline.aligners.heads.kinds import make_head
from structure.pipeline.aligners.objective import Objective
from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.aligners.sequence_objective import SetObjective, TokenObjective

SAIL_WIDENS = 8
"""Inner width of SAIL's head over the layer's, in the authors' code."""


def make_objective(widths: tuple[int, int], options: TrainingOptions, *, prefix: int = 0) -> Objective:
    """The objective of `options.method`, its heads of these widths drawn from `options.seed`; on the CPU.

    `prefix`: how many tokens of a picture are no patches.
    """
    hidden = options.hidden or 2 * options.dim
    of_side: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    if options.method == "sail" and options.hidden is None:
        of_side = ({"hidden": SAIL_WIDENS * widths[0]}, {"hidden": SAIL_WIDENS * widths[1]})
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "mlp": ("mlp", {"hidden": hidden}),
        "lowrank": ("lowrank", {"rank": options.rank, "dropout": options.dropout, "gate": options.gate}),
        "gated": ("gated", {"hidden": hidden}),
        "sail": ("gated", {"hidden": hidden, "norm": True}),
        "pal": ("anchors", {"temperature": options.pool_temperature, "pooling": options.pooling}),
        "freezealign": ("tokens", {"hidden": hidden}),
        "sma": ("linear", {}),
    }
    kind, settings = kinds.get(options.method, (options.method, {}))
    dim = options.anchors if kind == "anchors" else options.dim
    # A vision transformer's CLS token has a projection of its own.
    if kind == "tokens":
        of_side = ({"cls": prefix > 0}, {"cls": False})
    generator = torch.Generator().manual_seed(options.seed)
    heads = [make_head(kind, width, dim, **(settings | more)) for width, more in zip(widths, of_side, strict=True)]
    for head in heads:
        head.reset(generator)
    made: dict[str, type[Objective]] = {"freezealign": TokenObjective, "sma": SetObjective}
    if heads[0].takes_tokens:
        made["pal"] = TokenObjective
    return made.get(options.method, Objective)(heads[0], heads[1], options)
