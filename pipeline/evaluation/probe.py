"""Linear probes and k-shot classifiers on rows that are in the store: no encoder, no words."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from structure.pipeline.evaluation.embeddings import Embeddings
from structure.pipeline.evaluation.evaluated_aligner import EvaluatedAligner
from structure.pipeline.evaluation.judge import Judge
from structure.pipeline.evaluation.task import TaskRows
from structure.pipeline.extraction.sample_index import SampleIndex
from structure.pipeline.extraction.stored_or_extracted import FeatureSource
from structure.pipeline.metrics.linear_probe import draw_shots, fit_probe
from structure.pipeline.metrics.matrices import Array
from structure.pipeline.metrics.predictions import Predictions, predict
from structure.pipeline.metrics.score import TaskScores, score_predictions
from structure.pipeline.progress import Listener
from structure.store.errors import StructureError, unknown

DRAWS = 5
"""How often the samples of a k-shot probe are drawn; their mean is reported."""


def probe_linear(question: TaskRows, subject: EvaluatedAligner, source: FeatureSource, *, seed: int) -> Judge:
    """One aligner on one linear-probe task: trained on all of the training split, then on each number of shots.

    `lp_acc1@k` is the mean over `DRAWS` draws of k samples a class; its interval is the bootstrap over test samples of
    their mean hits, so it holds the test set's part of the doubt and, through the mean, little of the draws'.
    """
    assert question.training is not None
    images, training = (_images(rows, question, subject, source) for rows in (question.rows, question.training))
    return partial(_probed, question, images, training, seed)


def _probed(
    question: TaskRows, images: Embeddings, of_training: Embeddings, seed: int, on_event: Listener
) -> TaskScores:
    task = question.task
    assert question.training is not None
    classes, own = _classes(question.samples.tasks, question.training.samples.tasks, task.label, task.dataset)
    rows, labels, ids, left_out = _side(question.rows, question, images)
    labels = own[labels]
    training, answers, _, _ = _side(question.training, question, of_training)
    probe = fit_probe(training, answers, classes=len(classes), seed=seed)
    hits = {
        f"hits@{shots}": np.mean(
            [_shots(training, answers, rows, labels, shots, len(classes), draw) for draw in range(DRAWS)], 0
        )
        for shots in task.shots
    }
    judged = score_predictions(
        predict(probe.logits(rows), labels), ids=ids, classes=classes, metrics=question.metrics, columns=hits, seed=seed
    )
    notes = {
        **judged.notes,
        **left_out,
        "training_samples": len(answers),
        "draws": DRAWS if task.shots else 0,
    }
    notes |= {"penalty_c": probe.strength, "penalty_chosen": probe.chosen, "space": task.space}
    return replace(judged, notes=notes)


def _shots(
    training: Array, answers: np.ndarray, rows: Array, labels: np.ndarray, shots: int, classes: int, draw: int
) -> np.ndarray:
    chosen = draw_shots(answers, shots, seed=draw)
    probe = fit_probe(training[chosen], answers[chosen], classes=classes, seed=draw)
    said: Predictions = predict(probe.logits(rows), labels)
    return said.hits(1)


def _images(rows: SampleIndex, question: TaskRows, subject: EvaluatedAligner, source: FeatureSource) -> Embeddings:
    """The rows in the task's space."""
    images = subject.images(source, rows)
    if question.task.space == "features":
        return Embeddings(images.features, images.layer, lambda values: values, source)
    return images


def _side(
    rows: SampleIndex, question: TaskRows, images: Embeddings
) -> tuple[Array, np.ndarray, list[str], dict[str, int]]:
    """Rows with a label: (n, dim) in the task's space, (n,) labels, ids; and how many images take no part."""
    labels = rows.samples.labels(question.task.label)[images.rows]
    kept = np.flatnonzero(labels >= 0)
    if not len(kept):
        raise StructureError(f"{rows.samples.dataset}/{rows.samples.split} has no label for this task.")
    ids = rows.samples.item_ids
    return images.whole()[kept], labels[kept], [ids[images.rows[i]] for i in kept], images.left_out()


def _classes(test: object, train: object, label: str, dataset: str) -> tuple[list[str], np.ndarray]:
    """The class names that the probe is trained on, and (test classes,) their numbers there of those of the test split:
    a label means its name, wherever a split's list has it. Raises StructureError for a test class without training."""
    names = []
    for tasks in (test, train):
        assert isinstance(tasks, dict)
        if label not in tasks:
            raise unknown("label", label, list(tasks), hint=f"It was looked for in {dataset}.")
        names.append(list(tasks[label]["classes"]))
    lacking = [name for name in names[0] if name not in names[1]]
    if lacking:
        raise StructureError(
            f"{dataset}: {len(lacking)} of {len(names[0])} classes of the test split are none of the {len(names[1])} "
            f"of the training split, first {lacking[0]!r}: a probe cannot learn them. Name the same classes in both."
        )
    return names[1], np.array([names[1].index(name) for name in names[0]])
