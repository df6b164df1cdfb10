"""Aligners: light heads and closed forms that bring two frozen layers into one space. Names load on first use."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "Aligner": "aligner",
    "load_aligner": "aligner",
    "unpack": "aligner",
    "BatchSource": "batches",
    "PairsInMemory": "batches",
    "held_out": "batches",
    "ALIGNERS": "registry",
    "Method": "aligner_method",
    "method": "aligner_method",
    "fit": "aligner_method",
    "ClosedForm": "closed_form",
    "GradientMethod": "gradient_method",
    "PairMethod": "gradient_method",
    "PRESETS": "presets",
    "option": "options",
    "TrainingOptions": "options",
    "TrainingData": "training_data",
    "Solution": "training_data",
    "FitResult": "fit_result",
    "train": "training",
    "train_source": "training",
    "structure_loss": "losses.structure_loss",
    "freeze": "losses.structure_loss",
    "info_nce": "losses.contrastive",
    "sigmoid_loss": "losses.contrastive",
    "fit_csa": "csa_solver",
    "anchor_profile": "heads.anchors",
    "submodular_information": "losses.submodular",
    "set_alignment_loss": "losses.set_alignment",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
