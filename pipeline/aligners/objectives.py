"""Which objective a method trains: fresh heads of its kind, drawn from the seed."""

from __future__ import annotations

import torch

from structure.pipeline.aligners.heads.kinds import make_head
from structure.pipeline.aligners.objective import Objective
from structure.pipeline.aligners.option_groups import GradientOptions
from structure.pipeline.aligners.registry import ALIGNERS


def make_objective(widths: tuple[int, int], options: GradientOptions, *, prefix: int = 0) -> Objective:
    """The objective of `options.method`, its heads of these widths drawn from `options.seed`; on the CPU.

    `prefix`: how many tokens of an image are no patches.
    """
    method = ALIGNERS[options.method]()
    generator = torch.Generator().manual_seed(options.seed)
    specs = method.heads(options, widths=widths, prefix=prefix)
    heads = [make_head(spec.kind, width, spec.dim, **spec.settings) for spec, width in zip(specs, widths, strict=True)]
    for head in heads:
        head.reset(generator)
    objective: Objective = method.objective(heads[0], heads[1], options)
    return objective
