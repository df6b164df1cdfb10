"""Where the results of one aligner on one task go: JSON for CLIP_benchmark, flat rows, and a row a sample."""

from __future__ import annotations

from structure.pipeline.evaluation.question import Question
from structure.pipeline.evaluation.subject import Subject
from structure.pipeline.results import Result, keep_results, predictions_file, write_table
from structure.pipeline.suites.clip_benchmark_json import Record
from structure.pipeline.suites.judge import Judgement
from structure.store import Samples, Store
from structure.store.files import plain_name


def trained_on(store: Store, question: Question, subject: Subject) -> int:
    """How many items of the question, by the digest of what was read, are in the data that the aligner was trained on
    (all of one split, where the table of the other is not in this store)."""
    samples, data = question.samples, subject.aligner.metadata.get("data") or {}
    dataset, split = data.get("dataset", ""), data.get("split", "")
    key = f"trained on {dataset}/{split}"
    if key not in question.memo:
        if (dataset, split) == (samples.dataset, samples.split):
            question.memo[key] = len(samples.digests)
        elif store.files.exists(Samples.file(dataset, split)):
            met = {digest for _, digest in store.samples(dataset, split).digests.values() if digest}
            question.memo[key] = sum(digest in met for _, digest in samples.digests.values())
        else:
            question.memo[key] = 0
    return int(question.memo[key])


def keep(store: Store, suite: str, question: Question, subject: Subject, judged: Judgement) -> list[Result]:
    """Write them below `results/<aligner>/` and return the flat rows."""
    task, facts = question.task, subject.aligner.metadata
    folder = store.folder("results", subject.name)
    record = Record(
        dataset=task.title.removesuffix(f"/{task.language}"),
        model=subject.name,
        pretrained=suite.partition("@")[0],
        task=task.kind,
        metrics=judged.metrics(),
        language=task.language,
    )
    folder.write(record.file_name, record.to_json().encode())
    provenance = {
        **question.provenance(),
        **judged.notes,
        "encoders": {side.modality: str(side.identity.get("source", "")) for side in (subject.vision, subject.text)},
        "items_trained_on": trained_on(store, question, subject),
        "aligner_features": facts.get("fingerprints", {}),
    }
    results = [
        Result(
            aligner=subject.name,
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
    file = predictions_file(suite, task.title, task.kind)
    write_table(folder, f"predictions/{file}", judged.samples)
    for name, picture in judged.pictures.items():
        folder.write(f"pictures/{file.removesuffix('.parquet')}_{plain_name(name)}", picture)
    for name, table in (("confusion", judged.confusion), ("examples", judged.examples)):
        if table is not None:
            write_table(folder, f"{name}/{file}", table)
    return results
