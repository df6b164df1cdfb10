"""Pairs made of labelled images: k samples a class, each with a caption that says its label."""

from __future__ import annotations

from typing import Any

import numpy as np

from structure.pipeline.datasets.dataset import PROMPTS
from structure.pipeline.extraction.sample_index import SampleIndex, open_rows
from structure.pipeline.extraction.stored_or_extracted import EncoderRecord, FeatureSource
from structure.pipeline.pairing.labelled_name import Labelled
from structure.store import FeatureSet, SampleItem, Samples
from structure.store.errors import StructureError
from structure.store.fingerprint import fingerprint
from structure.store.joined_rows import layer_rows, loaded

TEMPLATE = "a photo of a {c}."


def labelled_pairs(
    wanted: Labelled,
    source: FeatureSource,
    sets: tuple[FeatureSet, FeatureSet],
    layers: tuple[str, str],
    *,
    seed: int,
) -> tuple[Any, Any]:
    """Features (n, dv) of labelled images and (n, dt) of their captions, in the layers of the sets that are aligned.

    The samples are drawn from the dataset's split "train"; the caption is its first template with the class name. What
    is not in the store is encoded and saved there. Raises as `open_rows` does, and StructureError without labels.
    """
    rows = open_rows(source.context, wanted.dataset, split="train")
    samples = rows.samples
    task = next((name for name in samples.tasks if samples.kind != "multilabel"), None)
    if task is None:
        raise StructureError(f"--add {wanted.dataset}: the dataset has no labels, so its samples have no class to say.")
    classes = list(samples.tasks[task]["classes"])
    pictures = source.features(EncoderRecord.of(sets[0]), rows)
    labels = samples.labels(task)
    chosen = draw_per_class(np.where(pictures.valid, labels, -1), wanted.per_class, seed=seed)
    lacking = len(classes) - len(np.unique(labels[chosen]))
    if lacking:
        source.context.note(f"{lacking} of {len(classes)} classes of {wanted.dataset} have no labelled image")
    template = (list(samples.tasks[task]["templates"]) or [TEMPLATE])[0]
    texts = [template.replace("{c}", name) for name in classes]
    split = f"prompts.captions.{fingerprint({'texts': texts})[:12]}"
    items = [SampleItem(f"{number:06d}", (text,)) for number, text in enumerate(texts)]
    said = Samples.build(samples.dataset, split, items, kind=PROMPTS)
    words = source.features(EncoderRecord.of(sets[1]), SampleIndex(said, None, ""), captions=1)
    return loaded(layer_rows(pictures, layers[0], chosen)), loaded(layer_rows(words, layers[1], labels[chosen]))


def draw_per_class(labels: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    """Row numbers, ascending: `count` rows of each label, all where there are fewer; label -1 is none."""
    order = np.random.default_rng(seed).permutation(len(labels))
    kept = [order[labels[order] == label][:count] for label in np.unique(labels[labels >= 0])]
    return np.sort(np.concatenate(kept)) if kept else np.zeros(0, dtype=np.int64)
