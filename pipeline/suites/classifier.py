"""From prompt embeddings to one vector a class, as CLIP's zero-shot classifier does it."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from structure.pipeline.suites.rows import Array, as_tensor, unit_rows

LOGIT_SCALE = 100.0
"""Logits are 100 x cosine (Radford et al. 2021, section 2.5, clip the learned scale at 100). It changes no rank."""


def class_vectors(embeddings: Array) -> torch.Tensor:
    """Unit class vectors `(class, dim)` from prompt embeddings `(class, template, dim)` of any length.

    L2 each prompt, mean over the templates, L2 again (Radford et al. 2021, section 3.1.4). At least float32, on the
    device of the input. A prompt of zeros, or prompts that cancel out, raise `StructureError`.
    """
    prompts = as_tensor(embeddings)
    if prompts.ndim != 3:
        raise ValueError(f"prompt embeddings must be (class, template, dim), got shape {tuple(prompts.shape)}")
    classes, templates, dim = prompts.shape
    name = f"prompt embeddings ({templates} templates a class, class by class)"
    unit = unit_rows(prompts.reshape(classes * templates, dim), name=name).reshape(classes, templates, dim)
    return unit_rows(unit.mean(dim=1), name="class vectors (means over templates)")


def class_vectors_of(blocks: Iterable[Array], *, classes: int, templates: int) -> torch.Tensor:
    """`class_vectors` of prompt embeddings that come in blocks `(rows, dim)`, class by class, template by template.

    Only the sums `(class, dim)` are held, in float64. Raises `ValueError` unless there are `classes * templates` rows.
    """
    sums: torch.Tensor | None = None
    first = 0
    for block in blocks:
        unit = unit_rows(block, name=f"prompt embeddings ({templates} templates a class, class by class)", first=first)
        if sums is None:
            sums = torch.zeros(classes, unit.shape[1], dtype=torch.float64, device=unit.device)
        if first + len(unit) > classes * templates:
            break
        owner = torch.arange(first, first + len(unit), device=unit.device) // templates
        sums.index_add_(0, owner, unit.double())
        first += len(unit)
    if sums is None or first != classes * templates:
        raise ValueError(f"{classes} classes x {templates} templates are not the {first} rows of prompts that came")
    return unit_rows(sums / templates, name="class vectors (means over templates)").float()


def class_logits(images: Array, vectors: Array) -> torch.Tensor:
    """`(n, class)` logits 100 x cosine; both sides may be raw. For more images than fit, use `predictions.classify`."""
    weights = unit_rows(vectors, name="class vectors")
    return LOGIT_SCALE * unit_rows(images, name="image embeddings").to(weights) @ weights.T
