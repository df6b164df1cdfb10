"""The stages (extract, rank, align, evaluate, report) and what they are made of; names are loaded when first used."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "AlignedModel": "inference.aligned_model",
    "align": "stages.align",
    "anchor_profile": "aligners.heads.anchors",
    "classification_metrics": "metrics.clip_benchmark_metrics",
    "compare_aligners": "stages.evaluate",
    "embed": "stages.embed",
    "evaluate": "stages.evaluate",
    "export": "stages.export",
    "extract": "stages.extract",
    "fit_csa": "aligners.csa_solver",
    "foscttm": "metrics.foscttm",
    "import_features": "stages.import_features",
    "index": "stages.index",
    "info_nce": "aligners.losses.contrastive",
    "label": "stages.label",
    "klot": "aligners.losses.klot",
    "layer_similarity": "similarity.score",
    "load_aligner": "aligners.aligner",
    "multilabel_metrics": "metrics.clip_benchmark_metrics",
    "mutual_knn": "similarity.score",
    "neighbours": "similarity.knn.neighbours",
    "open_bundle": "stages.open_bundle",
    "pair_curve": "stages.pair_curve",
    "rank_layers": "stages.rank_layers",
    "rank_models": "stages.rank_models",
    "report": "stages.report",
    "retrieval_metrics": "metrics.clip_benchmark_metrics",
    "search": "stages.search",
    "search_hub": "stages.search_hub",
    "segmentation_metrics": "metrics.clip_benchmark_metrics",
    "select_aligner": "model_selection.select_aligner",
    "serve": "stages.serve",
    "structure_loss": "aligners.losses.structure_loss",
    "submodular_information": "aligners.losses.submodular",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
