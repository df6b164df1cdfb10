"""From prompt embeddings to one vector a class, as CLIP's zero-shot classifier does it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from structure.pipeline.metrics.matrices import Array, as_tensor, unit_rows

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


def class_vectors_of(blocks: Iterable[Array], counts: Sequence[int]) -> torch.Tensor:
    """`class_vectors` of prompt embeddings that come in blocks `(rows, dim)`, class by class, `counts[c]` for class c.

    Only the sums `(class, dim)` are held, in float64. Raises `ValueError` unless there are `sum(counts)` rows.
    """
    owners = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    sums: torch.Tensor | None = None
    first = 0
    for block in blocks:
        unit = unit_rows(block, name="prompt embeddings (class by class)", first=first)
        if sums is None:
            sums = torch.zeros(len(counts), unit.shape[1], dtype=torch.float64, device=unit.device)
        owner = owners[first : first + len(unit)]
        first += len(unit)
        if len(owner) < len(unit):
            break
        sums.index_add_(0, owner.to(unit.device), unit.double())
    if sums is None or first != len(owners):
        raise ValueError(f"{len(counts)} classes have {len(owners)} prompts, and {first} rows of prompts came")
    means = sums / torch.tensor(counts, dtype=torch.float64, device=sums.device)[:, None]
    return unit_rows(means, name="class vectors (means over prompts)").float()


def class_logits(images: Array, vectors: Array) -> torch.Tensor:
    """`(n, class)` logits 100 x cosine; both sides may be raw. For more images than fit, use `predictions.classify`."""
    weights = unit_rows(vectors, name="class vectors")
    return LOGIT_SCALE * unit_rows(images, name="image embeddings").to(weights) @ weights.T
