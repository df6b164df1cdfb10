"""Where the results of one aligner on one task go: JSON for CLIP_benchmark, flat rows, and a row a sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from structure.pipeline.evaluation.clip_benchmark_json import Record
from structure.pipeline.evaluation.evaluated_aligner import EvaluatedAligner
from structure.pipeline.evaluation.task import TaskRows
from structure.pipeline.metrics.score import TaskScores
from structure.pipeline.results import (
    ASKED,
    RUN,
    Result,
    every_result,
    keep_results,
    predictions_file,
    remove_results,
    write_table,
)
from structure.store import Samples, Store
from structure.store.errors import DamageError
from structure.store.files import plain_name
from structure.store.fingerprint import fingerprint
from structure.store.sample_table import WITHDRAWN
from structure.store.sealed_tables import packed
from structure.store.seals import digests


def drop_damaged(store: Store, aligner: str) -> bool:
    """Remove all that was evaluated of an aligner where its numbers are damaged or those of another, so that an
    evaluation can write its own; whether they were."""
    folder = store.folder("results", aligner)
    try:
        every_result(folder)
    except DamageError:
        folder.remove_tree("")
        return True
    return False


def trained_on(store: Store, question: TaskRows, subject: EvaluatedAligner) -> int | None:
    """How many samples of the question, by the digest of what was read, are in the data that the aligner was trained
    on; None where nobody knows: no data are on record, or their table is not in this store."""
    samples, data = question.samples, subject.aligner.metadata.get("data")
    if not isinstance(data, Mapping) or not {"dataset", "split"} <= data.keys():
        return None
    split = data["dataset"], data["split"]
    if split == (samples.dataset, samples.split):
        return len(samples)
    if not store.files.exists(Samples.file(*split)):
        return None
    key = f"trained on {'/'.join(split)}"
    if key not in question.memo:
        met = {digest for _, digest in store.samples(*split).digests.values() if digest not in ("", WITHDRAWN)}
        question.memo[key] = sum(digest in met for _, digest in samples.digests.values())
    return int(question.memo[key])


def keep(
    store: Store, suite: str, question: TaskRows, subject: EvaluatedAligner, judged: TaskScores, *, asked: str
) -> list[Result]:
    """Write them below `results/<aligner>/`, in place of those of the same question, and return the flat rows.

    `asked` are the options by which the evaluation can be asked for again.

    What an earlier aligner of the name left there is removed. The same data asked with other prompts, or another split,
    are another question: its rows and files stand beside. A store that cannot be written is left as it is.
    """
    task, facts = question.task, subject.aligner.metadata
    folder = store.folder("results", subject.name)
    run = str(facts.get("run", ""))
    earlier = every_result(folder)
    if store.files.writable and any(result.provenance.get(RUN, "") != run for result in earlier):
        remove_results(store, subject.name)
        earlier = []
    provenance = {
        RUN: run,
        ASKED: asked,
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
    if not store.files.writable:
        return results
    file = predictions_file(suite, task.title, task.kind)
    other = _set_apart(results[0].question, file, earlier) if results else ""
    if other:
        file = file.removesuffix(".parquet") + f"{other}.parquet"
        results = [replace(result, provenance={**result.provenance, "file": file}) for result in results]
    record = Record(
        dataset=task.title.removesuffix(f"/{task.language}"),
        model=subject.name,
        pretrained=suite.partition("@")[0] + other,
        task=task.kind,
        metrics=judged.metrics(),
        language=task.language,
    )
    beside = {record.file_name: record.to_json().encode()}
    for name, picture in judged.pictures.items():
        beside[f"pictures/{file.removesuffix('.parquet')}_{plain_name(name)}"] = picture
    for kind, table in (
        ("confusion", judged.confusion),
        ("classes", judged.by_class),
        ("examples", judged.examples),
    ):
        if table is not None:
            beside[f"{kind}/{file}"] = packed(table)
    for name, content in beside.items():
        folder.write(name, content)
    if results:
        owner = results[0].owner
        write_table(folder, f"predictions/{file}", judged.samples, owner=owner, beside=digests(beside))
    keep_results(folder, results)
    return results


def _set_apart(question: tuple[str, ...], file: str, earlier: Sequence[Result]) -> str:
    """What the names of a question's files end in: nothing for the first of its suite, dataset and task, for which
    `file` is free; the digest of the question for others."""
    taken = {result.file: result.question for result in earlier}
    return "" if taken.get(file, question) == question else f"_{fingerprint({'question': list(question)})[:8]}"
