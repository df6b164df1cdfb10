"""Label: zero-shot classes of images, from cached features or of a folder of images."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from structure.pipeline.evaluation.evaluated_aligner import EvaluatedAligner
from structure.pipeline.inference.gallery import SplitGallery
from structure.pipeline.inference.gallery_sources import GallerySource, chosen_data
from structure.pipeline.inference.image_files import SplitFiles
from structure.pipeline.inference.labels import (
    TEMPERATURE,
    label_row,
    prompts_for,
    read_classes,
    temperature_of,
    top_labels,
)
from structure.pipeline.inference.queries import encode_texts
from structure.pipeline.inference.written_files import TABLES, require_ending, write_table
from structure.pipeline.keyword_form import keyword_form
from structure.pipeline.metrics.zero_shot_classifier import class_vectors_of
from structure.pipeline.run_context import RunContext
from structure.pipeline.suites.prompts import Prompts
from structure.pipeline.work_estimate import WorkEstimate


@dataclass(frozen=True)
class LabelRequest:
    """Give each image its nearest classes, with scores, probabilities and the margin of the first.

    `data` is a folder of images, which is encoded once, or a dataset of the store or of any kind, with one `split` of
    it. `classes` are names (a list, or text with commas between), or a text file with one a line; `prompt` are
    templates with `{c}` where the name goes, `prompts` a prompt set ("plain" by default, "a photo of a {c}.").
    `aligner` is a name in the store, the newest by default. `out` is a file that ends in .csv, .parquet or .json.
    Raises StructureError for names that do not exist (the nearest are offered) and fewer than two classes.
    """

    data: str | Path
    _: KW_ONLY
    classes: str | Sequence[str]
    prompt: Sequence[str] = ()
    prompts: str | None = None
    aligner: str | None = None
    split: str | None = None
    out: str | Path | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompt", (self.prompt,) if isinstance(self.prompt, str) else tuple(self.prompt))
        object.__setattr__(self, "classes", read_classes(self.classes))
        _ = self.worded  # raises for classes or templates that cannot be used
        if self.out is not None:
            require_ending("--out", Path(self.out), TABLES)

    @property
    def worded(self) -> Prompts:
        """The prompts of the classes."""
        return prompts_for(read_classes(self.classes), templates=self.prompt, prompts=self.prompts)


@dataclass(frozen=True)
class LabelResult:
    """What `structure label` gives: a flat row for each image (`id`, `path`, `file`, `label`, `score`, `probability`,
    `margin`, `label_2`, ...), and how many images got each class first. `probabilities` are at `temperature`."""

    aligner: str
    dataset: str
    classes: tuple[str, ...]
    temperature: float
    rows: tuple[Mapping[str, Any], ...]
    counts: Mapping[str, int]
    encoder_passes: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The document of `structure label --json`."""
        facts = {name: value for name, value in vars(self).items() if name != "rows"}
        return {**facts, "images": len(self.rows), "labels": list(self.rows)}


def plan(request: LabelRequest, context: RunContext) -> tuple[WorkEstimate, ...]:
    """What has to be encoded and aligned before the labels; writes nothing. Raises as `run` does, but for classes."""
    source = GallerySource(context, EvaluatedAligner.of(context, request.aligner), save=False)
    return source.plan(chosen_data(context.store, request.data, request.split), "vision")


def run(request: LabelRequest, context: RunContext) -> LabelResult:
    """Label. Raises NotPresentError for an encoder or data that are not here, StructureError for what is not there."""
    began = time.perf_counter()
    subject = EvaluatedAligner.of(context, request.aligner)
    source = GallerySource(context, subject)
    gallery = source.open(chosen_data(context.store, request.data, request.split), "vision")
    worded = request.worded
    vectors = class_vectors_of([encode_texts(context, subject, worded.texts())], worded.counts()).numpy()
    temperature = temperature_of(subject.aligner)
    if temperature is None:
        context.note(
            f"the method {subject.aligner.method} is trained without a temperature: probabilities are at {TEMPERATURE}"
        )
    rows = tuple(_rows(context, gallery, vectors, worded.classes, temperature or TEMPERATURE))
    if request.out is not None:
        write_table(Path(request.out), rows)
        context.note(f"labels: {request.out}")
    counts = Counter(row["label"] for row in rows)
    return LabelResult(
        subject.name,
        gallery.splits[0].samples.dataset,
        worded.classes,
        temperature or TEMPERATURE,
        rows,
        {each: counts[each] for each in worded.classes},
        source.features.passes,
        time.perf_counter() - began,
    )


def _rows(
    context: RunContext, gallery: SplitGallery, vectors: np.ndarray, classes: Sequence[str], temperature: float
) -> Iterator[dict[str, Any]]:
    files = {split.name: SplitFiles(context, split) for split in gallery.splits}
    for numbers, values in gallery.blocks():
        labels = top_labels(values, vectors, temperature=temperature)
        for place, row in enumerate(numbers.tolist()):
            split, number = gallery.locate(row)
            found = split.row(number)
            file = files[split.name].file(found.sample)
            yield {"id": found.id, "path": file.path, "file": file.state, **label_row(labels, place, classes)}


label = keyword_form(
    "label", LabelRequest, run, plan, about="Label images zero-shot, from cached features or of a folder."
)
