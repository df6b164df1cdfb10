"""Stage 4: zero-shot evaluation of aligners from cached features; an encoder runs only for rows not in the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from structure.pipeline.aligners.aligner import RECORD, Aligner, load_aligner
from structure.pipeline.datasets.dataset import Task
from structure.pipeline.device import resolve_device
from structure.pipeline.features.cached import EncoderRecord, FeatureSource
from structure.pipeline.features.rows import Rows, open_rows
from structure.pipeline.progress import Listener, Progress, silent
from structure.pipeline.results import Result, keep_results, write_table
from structure.pipeline.suites.classifier import class_vectors
from structure.pipeline.suites.clip_benchmark_json import Record
from structure.pipeline.suites.judge import Judgement, judge_classification, judge_multilabel, judge_retrieval
from structure.pipeline.suites.prompts import Prompts, load_prompt_set, resolve_prompts
from structure.pipeline.suites.suite import SuiteTask, load_suite
from structure.store import FeatureSet, SampleItem, Samples, Store, open_store
from structure.store.errors import NotPresentError, StructureError, unknown

KINDS = ("zeroshot_classification", "zeroshot_retrieval")


@dataclass(frozen=True)
class Evaluation:
    """Every number, what could not be evaluated and how to get it, and how often an encoder had to run."""

    suite: str
    aligners: tuple[str, ...]
    results: tuple[Result, ...]
    absent: tuple[Mapping[str, str], ...]
    asked: int
    encoder_passes: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The document of `structure eval --json`."""
        return {
            "suite": self.suite,
            "aligners": list(self.aligners),
            "results": [result.row() for result in self.results],
            "absent": [dict(entry) for entry in self.absent],
            "evaluated": self.asked - len(self.absent),
            "asked": self.asked,
            "encoder_passes": self.encoder_passes,
            "seconds": self.seconds,
        }


def evaluate(
    suite: str,
    *,
    store: Store | str | Path,
    aligners: Sequence[str] = (),
    datasets: Sequence[str] = (),
    prompts: str | None = None,
    data_root: str | Path = "data",
    require_all: bool = False,
    device: str = "auto",
    seed: int = 0,
    on_event: Listener = silent,
) -> Evaluation:
    """Evaluate aligners (by name; the newest by default) on a suite and keep the results below `results/<aligner>/`.

    Features of images, captions and prompts are taken from the store, or extracted and kept there. Datasets that are
    not on this machine are listed in `absent`; under `require_all` they are an error. Raises StructureError where
    nothing at all could be evaluated.
    """
    began = time.perf_counter()
    target = store if isinstance(store, Store) else open_store(store)
    chosen = load_suite(suite)
    tasks = chosen.select(datasets)
    loaded = {name: load_aligner(target.folder("aligners", name)) for name in aligner_names(target, aligners)}
    source = FeatureSource(target, device=resolve_device(device), on_event=on_event)
    absent: list[dict[str, str]] = []
    for task in tasks:
        if task.kind not in KINDS:
            raise StructureError(f"{task.title} asks for {task.kind}; this version evaluates {' and '.join(KINDS)}.")
    results: list[Result] = []
    opened: dict[tuple[str, str | None], Rows] = {}
    for number, task in enumerate(tasks, start=1):
        try:
            place = (task.dataset, task.split)
            if place not in opened:
                opened[place] = _open(target, task, data_root, on_event)
            rows = opened[place]
            question = _question(task, rows, prompts)
            for name, aligner in loaded.items():
                judged = _judge(task, rows, question, name, aligner, source, seed)
                results += _keep(target, chosen.label, task, rows, question, name, aligner, judged)
        except NotPresentError as error:
            absent.append({"dataset": task.title, "why": f"{task.dataset} is not here", "how_to_get": str(error)})
        on_event(Progress("evaluating", number, len(tasks), "tasks"))
    if absent and (require_all or len(absent) == len(tasks)):
        raise NotPresentError(
            f"{len(absent)} of {len(tasks)} datasets of the suite {chosen.name} could not be evaluated"
            f"{'' if len(absent) == len(tasks) else ' and --require-all was given'}. "
            + " ".join(f"{entry['dataset']}: {entry['how_to_get']}" for entry in absent[:3])
            + (f" ... and {len(absent) - 3} more; see: structure datasets" if len(absent) > 3 else "")
        )
    return Evaluation(
        chosen.label,
        tuple(loaded),
        tuple(results),
        tuple(absent),
        len(tasks),
        source.passes,
        time.perf_counter() - began,
    )


def aligner_names(store: Store, names: Sequence[str]) -> list[str]:
    """The aligners that are meant: those named, else the newest. Raises StructureError for one that is not there."""
    folder = store.folder("aligners")
    there = {path.parent.name: path.stat().st_mtime for path in folder.glob(f"*/{RECORD}")}
    if not there:
        raise StructureError(f"The store {store.url} has no aligner. Train one with: structure align --layers auto")
    for name in names:
        if name not in there:
            raise unknown("aligner", name, sorted(there), hint=f"The store is {store.url}.")
    return list(dict.fromkeys(names)) or [max(there, key=lambda name: (there[name], name))]


def _open(store: Store, task: SuiteTask, data_root: str | Path, on_event: Listener) -> Rows:
    """The task's rows: from the raw data, or from the store alone where a dataset of that name was kept or imported."""
    kept = Samples.file(task.dataset, task.split or "test") if ":" not in task.dataset else ""
    try:
        return open_rows(store, task.dataset, split=task.split, data_root=data_root, on_event=on_event)
    except StructureError:
        if not kept or not store.files.exists(kept):
            raise
        return Rows(store.samples(task.dataset, task.split or "test"), None, "")


def _question(task: SuiteTask, rows: Rows, prompts: str | None) -> Prompts | None:
    """What a classification task is asked with; None for retrieval."""
    if task.kind != "zeroshot_classification":
        return None
    own = rows.samples.tasks.get(task.label)
    if own is None:
        raise unknown("label", task.label, list(rows.samples.tasks), hint=f"It was looked for in {task.dataset}.")
    return resolve_prompts(
        load_prompt_set(prompts or task.prompts),
        dataset=task.name,
        task=task.label,
        own=Task(tuple(own["classes"]), tuple(own["templates"]), own["source"]),
    )


def _judge(
    task: SuiteTask,
    rows: Rows,
    question: Prompts | None,
    name: str,
    aligner: Aligner,
    source: FeatureSource,
    seed: int,
) -> Judgement:
    """One aligner on one task."""
    samples = rows.samples
    layers = aligner.metadata["layers"]
    vision = EncoderRecord.from_json(aligner.metadata["encoders"]["vision"])
    text = EncoderRecord.from_json(aligner.metadata["encoders"]["text"])
    features = source.features(vision, rows)
    readable = np.flatnonzero(features.valid)
    images = embed(features, layers["vision"], aligner.embed_images)[readable]
    image_ids = [samples.item_ids[i] for i in readable]
    if question is not None:
        asked = prompt_samples(samples, task.label, question)
        embedded = embed(source.features(text, Rows(asked, None, "")), layers["text"], aligner.embed_texts)
        vectors = class_vectors(embedded.reshape(len(question.classes), len(question.templates), -1)).numpy()
        if samples.kind == "multilabel":
            targets = np.zeros((len(samples), len(question.classes)), dtype=np.int64)
            for row, present in enumerate(samples.label_sets(task.label)):
                targets[row, present] = 1
            return judge_multilabel(images, vectors, targets[readable], ids=image_ids, seed=seed)
        labels = samples.labels(task.label)[readable]
        return judge_classification(images, vectors, labels, ids=image_ids, classes=question.classes, seed=seed)
    words = source.features(text, rows, captions=None)
    texts = embed(words, layers["text"], aligner.embed_texts)
    of_text = samples.item_of_caption(words.manifest.captions)
    place = np.full(len(samples), -1)
    place[readable] = np.arange(len(readable))
    kept = np.flatnonzero(place[of_text] >= 0)
    described = np.unique(place[of_text[kept]])
    renumbered = np.searchsorted(described, place[of_text[kept]])
    return judge_retrieval(
        images[described],
        texts[kept],
        renumbered,
        image_ids=[image_ids[i] for i in described],
        text_ids=[str(words.ids[i]) for i in kept],
        ks=task.ks,
        seed=seed,
    )


def embed(features: FeatureSet, layer: str, head: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """(rows, dim) float32 embeddings of a layer, shard by shard; skipped rows are zero."""
    parts = []
    for shard, values in features.column(layer).blocks():
        valid = features.valid[shard.start : shard.stop]
        embedded = head(values[valid].astype(np.float32))
        whole = np.zeros((len(shard), embedded.shape[1]), dtype=np.float32)
        whole[valid] = embedded
        parts.append(whole)
    return np.concatenate(parts)


def prompt_samples(samples: Samples, label: str, prompts: Prompts) -> Samples:
    """The prompts of a task as rows of their own: split `prompts.<label>.<digest>`, class by class."""
    texts = prompts.texts()
    items = [SampleItem(f"{number:06d}", (text,)) for number, text in enumerate(texts)]
    split = f"prompts.{label}.{prompts.digest[:12]}"
    return Samples.build(samples.dataset, split, items, kind="prompts")


def _keep(
    store: Store,
    suite: str,
    task: SuiteTask,
    rows: Rows,
    question: Prompts | None,
    name: str,
    aligner: Aligner,
    judged: Judgement,
) -> list[Result]:
    """Write the JSON, the Parquet rows and the per-sample table of one aligner on one task."""
    samples = rows.samples
    provenance: dict[str, Any] = {
        "dataset_spec": task.dataset,
        "split": samples.split,
        "task": task.kind,
        **(question.provenance() if question else {"captions": len(samples.caption_rows())}),
        **(judged.notes or {}),
        "trained_on_this_split": aligner.metadata.get("data") == {"dataset": samples.dataset, "split": samples.split},
        "aligner_features": aligner.metadata.get("fingerprints", {}),
    }
    folder = store.folder("results", name)
    Record(
        dataset=task.title,
        model=name,
        pretrained="structure",
        task=task.kind,
        metrics=judged.metrics(),
    ).write(folder)
    results = [
        Result(
            aligner=name,
            suite=suite,
            dataset=task.title,
            task=task.kind,
            metric=metric,
            value=interval.value,
            low=interval.low,
            high=interval.high,
            n=interval.n,
            chance=judged.chance.get(metric),
            provenance=provenance,
        )
        for metric, interval in judged.intervals.items()
    ]
    keep_results(folder, results)
    slug = f"{task.title}_{task.kind}".replace("/", "_")
    write_table(folder / "predictions" / f"{slug}.parquet", judged.samples)
    return results
