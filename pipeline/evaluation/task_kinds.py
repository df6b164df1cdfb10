"""Every kind of task that can be evaluated, by its name in suites."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from structure.pipeline.evaluation.classification import classify_zeroshot
from structure.pipeline.evaluation.evaluated_aligner import EvaluatedAligner
from structure.pipeline.evaluation.judge import Judge
from structure.pipeline.evaluation.probe import probe_linear
from structure.pipeline.evaluation.retrieval import retrieve_zeroshot
from structure.pipeline.evaluation.segmentation import segment_zeroshot
from structure.pipeline.evaluation.selection import select_captions
from structure.pipeline.evaluation.task import TaskRows
from structure.pipeline.extraction.stored_or_extracted import FeatureSource
from structure.pipeline.suites.suite import Kind


class TaskKind(Protocol):
    """One aligner on one task: finds or makes the features, and returns what is left to compute from them. Raises
    NotPresentError where features are neither here nor to be made."""

    def __call__(self, question: TaskRows, subject: EvaluatedAligner, source: FeatureSource, *, seed: int) -> Judge: ...


JUDGES: Mapping[Kind, TaskKind] = {
    "zeroshot_classification": classify_zeroshot,
    "zeroshot_retrieval": retrieve_zeroshot,
    "image_caption_selection": select_captions,
    "linear_probe": probe_linear,
    "segmentation": segment_zeroshot,
}

TRAINED: frozenset[Kind] = frozenset({"linear_probe"})
"""Kinds that train on many rows: their sums depend on the number of threads."""
