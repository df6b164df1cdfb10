"""Evaluation parts: what is asked (suites, prompts), how answers are judged (metrics, intervals, chance) and kept.

Names load on first use: suites and prompts need no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "classification_metrics": "metrics",
    "multilabel_metrics": "metrics",
    "retrieval_metrics": "metrics",
    "segmentation_metrics": "metrics",
    "Predictions": "predictions",
    "predict": "predictions",
    "classify": "predictions",
    "classify_blocks": "predictions",
    "Ranks": "retrieval",
    "retrieval_ranks": "retrieval",
    "average_precisions": "multilabel",
    "Areas": "segmentation",
    "segmentation_areas": "segmentation",
    "confusion_matrix": "segmentation",
    "class_vectors": "classifier",
    "class_vectors_of": "classifier",
    "class_logits": "classifier",
    "classification_chance": "chance",
    "multilabel_chance": "chance",
    "retrieval_chance": "chance",
    "selection_chance": "chance",
    "Pairing": "paired",
    "Interval": "intervals",
    "mean_interval": "intervals",
    "median_interval": "intervals",
    "statistic_interval": "intervals",
    "paired_interval": "intervals",
    "seeds_interval": "intervals",
    "PromptSet": "prompt_set",
    "Prompts": "prompts",
    "load_prompt_set": "prompt_set",
    "prompt_set_names": "prompt_set",
    "resolve_prompts": "prompt_set",
    "Suite": "suite",
    "SuiteTask": "suite",
    "load_suite": "suite",
    "suite_names": "suite",
    "Record": "clip_benchmark_json",
    "read_records": "clip_benchmark_json",
    "PublishedNumber": "published",
    "published_numbers": "published",
    "Beside": "published",
    "beside": "published",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
