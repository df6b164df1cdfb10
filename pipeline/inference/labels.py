"""Zero-shot labels: the classes nearest to each image, with scores, probabilities and the margin of the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from structure.pipeline.aligners.aligner import Aligner
from structure.pipeline.datasets.class_files import read_lines
from structure.pipeline.datasets.dataset import Task
from structure.pipeline.suites.prompt_set import load_prompt_set, resolve_prompts
from structure.pipeline.suites.prompts import Prompts, refuse_slotless
from structure.store.errors import UsageError

TOP = 5
"""Classes that are given for each image."""
TEMPERATURE = 0.05
"""Of the probabilities where the aligner's method has none (closed forms): the default of contrastive training."""


@dataclass(frozen=True)
class TopLabels:
    """Labels of rows in order: `classes` (rows, top) numbers of the classes, best first, their `scores` and
    `probabilities` (rows, top), and `margins` (rows,): how much the first score is above the second."""

    classes: np.ndarray
    scores: np.ndarray
    probabilities: np.ndarray
    margins: np.ndarray


def temperature_of(aligner: Aligner) -> float | None:
    """The temperature that the aligner was trained at, or learnt; None for a method without one."""
    scale = aligner.metadata.get("scale")
    return 1 / float(scale) if scale else None


def top_labels(rows: np.ndarray, vectors: np.ndarray, *, temperature: float) -> TopLabels:
    """Labels of embeddings (n, dim) by the class `vectors` (classes, dim): scores are cosines, probabilities their
    softmax at `temperature` over all classes; equal scores come in the order of the classes."""
    scores = rows.astype(np.float32) @ vectors.T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :TOP]
    shares = np.exp((scores - scores.max(axis=1, keepdims=True)).astype(np.float64) / temperature)
    shares /= shares.sum(axis=1, keepdims=True)
    best = np.take_along_axis(scores, order, axis=1)
    return TopLabels(order, best, np.take_along_axis(shares, order, axis=1), best[:, 0] - best[:, 1])


def prompts_for(classes: Sequence[str], *, templates: Sequence[str] = (), prompts: str | None = None) -> Prompts:
    """The prompts of these classes: with `templates`, or as the prompt set `prompts` (plain by default) words them."""
    for number, template in enumerate(templates, start=1):
        refuse_slotless(template, f"--prompt {number}")
    own = Task(tuple(classes), tuple(templates), "--classes")
    return resolve_prompts(load_prompt_set(prompts or "plain"), dataset="classes", own=own)


def read_classes(given: str | Sequence[str]) -> tuple[str, ...]:
    """Class names: a list, names with commas between, or a text file with one a line. Raises UsageError for one name
    alone, and for an empty one."""
    names: Sequence[str]
    if not isinstance(given, str):
        names = list(given)
    elif Path(given).is_file():
        names = read_lines(Path(given))
    elif "," in given:
        names = given.split(",")
    else:
        raise UsageError(
            f"--classes {given!r} is no file, and one name alone. Write several with commas, --classes 'cat,dog', or a "
            "file with one name a line."
        )
    names = [name.strip() for name in names]
    if not all(names):
        raise UsageError(f"--classes: name {names.index('') + 1} of {len(names)} is empty.")
    return tuple(names)


def label_row(labels: TopLabels, row: int, classes: Sequence[str]) -> dict[str, Any]:
    """One image's labels as flat values: `label`, `score`, `probability`, `margin`, then `label_2`, ..."""
    flat: dict[str, Any] = {}
    for place in range(labels.classes.shape[1]):
        end = f"_{place + 1}" if place else ""
        flat[f"label{end}"] = classes[int(labels.classes[row, place])]
        flat[f"score{end}"] = round(float(labels.scores[row, place]), 6)
        flat[f"probability{end}"] = round(float(labels.probabilities[row, place]), 6)
        if not place:
            flat["margin"] = round(float(labels.margins[row]), 6)
    return flat
