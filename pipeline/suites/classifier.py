"""From prompt embeddings to one vector a class, as CLIP's zero-shot classifier does it."""

from __future__ import annotations

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


def class_logits(images: Array, vectors: Array) -> torch.Tensor:
    """`(n, class)` logits 100 x cosine; both sides may be raw. For more images than fit, use `predictions.classify`."""
    weights = unit_rows(vectors, name="class vectors")
    return LOGIT_SCALE * unit_rows(images, name="image embeddings").to(weights) @ weights.T
