"""What is left of judging an aligner once its features are there."""

from __future__ import annotations

from collections.abc import Callable

from structure.pipeline.metrics.score import TaskScores
from structure.pipeline.progress import Listener

Judge = Callable[[Listener], TaskScores]
"""Computes what an aligner reached on a task, on any thread, and tells its progress."""
