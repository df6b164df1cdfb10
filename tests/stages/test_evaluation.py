"""Evaluation of copies on disk: every fault is told with its place, two aligners are compared on the same samples."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from structure.cli.main import run
from structure.pipeline import align, compare_aligners, evaluate
from structure.pipeline.aligners.aligner import load_aligner
from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.datasets import export_webdataset, open_dataset
from structure.pipeline.evaluation import judge_tasks, save_results
from structure.pipeline.evaluation.classification import classify_zeroshot
from structure.pipeline.evaluation.judge import Judge
from structure.pipeline.evaluation.task import TaskRows
from structure.pipeline.page.source import Source
from structure.pipeline.progress import Event, Note
from structure.pipeline.results import every_result, read_table, require_predictions
from structure.pipeline.stages.report import report
from structure.pipeline.stages.status import status
from structure.store import Store, StructureError, open_store

SUITE = """name: copies
version: 1
defaults: {split: test, kind: zeroshot_classification, metric: acc1, prompts: plain}
tasks:
  - clip-benchmark:wds/colours
  - clip-benchmark:wds/shapes
"""


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two copies in CLIP_benchmark's layout, of 40 scenes each."""
    root = tmp_path_factory.mktemp("data")
    scenes = open_dataset("scenes:40", split="test", data_root=root)
    for name, task in (("colours", "colour"), ("shapes", "shape")):
        export_webdataset(scenes, root / f"wds_{name}", task=task, shard_items=25)
    training = open_dataset("scenes:100", split="train", data_root=root)
    export_webdataset(training, root / "wds_colours", split="train", task="colour")
    return root


@pytest.fixture(scope="module")
def aligned(scenes_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The scenes with two aligners, one trained and one hardly; read-only for tests."""
    place = tmp_path_factory.mktemp("aligned") / "store"
    shutil.copytree(scenes_store.url, place)
    store = open_store(place)
    for name, epochs in (("good", 30), ("poor", 1)):
        options = TrainingOptions(dim=16, epochs=epochs, learning_rate=3e-3 if name == "good" else 1e-6)
        align("last", store=store, options=options, name=name)
    return store


@pytest.fixture
def place(aligned: Store, copies: Path, tmp_path: Path) -> tuple[Path, Path, str]:
    """Store, data root and suite that a test may change."""
    shutil.copytree(aligned.url, tmp_path / "store")
    shutil.copytree(copies, tmp_path / "data")
    (tmp_path / "copies.yaml").write_text(SUITE)
    return tmp_path / "store", tmp_path / "data", str(tmp_path / "copies.yaml")


def test_two_aligners_are_compared_sample_by_sample(
    place: tuple[Path, Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    store, data, suite = place
    done = evaluate(suite, store=store, data_root=data, compare=("good", "poor"))
    assert done.aligners == ("good", "poor")
    assert done.encoder_passes == 4  # images and prompts of either copy, once for both aligners
    values = {(result.aligner, result.dataset, result.metric): result.value for result in done.results}
    for row in done.differences:
        assert (row.first, row.second) == tuple(values[name, row.dataset, row.metric] for name in ("good", "poor"))
        assert row.value == pytest.approx(row.first - row.second)
        assert row.low <= row.value <= row.high
    assert {(row.dataset, row.metric) for row in done.differences} == {key[1:] for key in values}
    assert compare_aligners("good", "poor", store=store) == list(done.differences)
    assert run(["eval", "--compare", "good", "poor", "--store", str(store), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["compared"] == ["good", "poor"]
    assert document["differences"] == [row.row() for row in done.differences]


def test_what_was_found_before_an_interruption_is_saved(
    place: tuple[Path, Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an encoder's time in it too; nothing of the task that was interrupted is."""
    store, data, suite = place
    evaluate(suite, store=store, data_root=data, aligners=["poor"])  # makes the features

    def interrupted(question: TaskRows, *rest: object, **options: object) -> Judge:
        if question.task.title == "wds/shapes":
            raise KeyboardInterrupt
        return classify_zeroshot(question, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(judge_tasks, "JUDGES", {"zeroshot_classification": interrupted})
    with pytest.raises(KeyboardInterrupt):
        evaluate(suite, store=store, data_root=data, aligners=["good"])
    folder = open_store(store).folder("results", "good")
    rows = every_result(folder)
    assert {row.dataset for row in rows} == {"wds/colours"}
    assert all(len(require_predictions(folder, row)) for row in rows)


@pytest.mark.parametrize("limit", ["WAITING_BYTES", "WAITING_SECONDS"])
def test_results_that_waited_for_long_are_written_before_the_next_task(
    limit: str, place: tuple[Path, Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed then has lost the one task alone."""
    store, data, suite = place
    evaluate(suite, store=store, data_root=data, aligners=["poor"])
    found: list[int] = []

    def counted(question: TaskRows, *rest: object, **options: object) -> Judge:
        found.append(len({row.dataset for row in every_result(open_store(store).folder("results", "good"))}))
        return classify_zeroshot(question, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(judge_tasks, "JUDGES", {"zeroshot_classification": counted})
    evaluate(suite, store=store, data_root=data, aligners=["good"])
    monkeypatch.setattr(save_results, limit, 0)
    open_store(store).folder("results", "good").remove_tree("")
    evaluate(suite, store=store, data_root=data, aligners=["good"])
    assert found == [0, 0, 0, 1]


def test_other_prompts_are_another_question(place: tuple[Path, Path, str]) -> None:
    store, data, suite = place
    before = evaluate(suite, store=store, data_root=data, compare=("good", "poor"))
    mine = Path(suite).with_name("mine.yaml")
    mine.write_text("name: mine\nversion: 1\ndatasets: {colours: {templates: ['{c}']}, shapes: {templates: ['{c}']}}\n")
    other = evaluate(suite, store=store, data_root=data, aligners=["poor"], prompts=str(mine), datasets=["shapes"])
    folder = open_store(store).folder("results", "poor")
    rows = every_result(folder)
    assert len(rows) == len([one for one in before.results if one.aligner == "poor"]) + len(other.results)
    acc = [row for row in rows if (row.dataset, row.metric) == ("wds/shapes", "acc1")]
    assert {row.provenance["prompt_set"] for row in acc} == {"plain@1", "mine@1"}
    for row in acc:  # each row has the table that it was computed from
        ranks = read_table(folder, f"predictions/{row.file}")["rank"].to_numpy()
        assert row.value == pytest.approx((ranks == 0).mean())
    assert len(list(Path(folder.url).glob("*.json"))) == 3
    assert evaluate(suite, store=store, data_root=data, aligners=["poor"], prompts=str(mine), datasets=["shapes"])
    assert len(every_result(folder)) == len(rows)
    page = Path(report(store=store)).read_text()
    assert page.count("mine@1") >= len(other.results)
    assert compare_aligners("good", "poor", store=store) == list(before.differences)
    load_aligner(store / "aligners" / "good").save(open_store(store).folder("aligners", "third"))
    evaluate(suite, store=store, data_root=data, aligners=["third"], prompts=str(mine), datasets=["shapes"])
    with pytest.raises(StructureError, match="was asked in two ways .prompts_digest"):
        compare_aligners("good", "third", store=store)


def test_results_of_an_earlier_aligner_of_the_name_are_never_shown(place: tuple[Path, Path, str]) -> None:
    store, data, suite = place
    opened = open_store(store)
    evaluate(suite, store=store, data_root=data, compare=("good", "poor"), datasets=["shapes"])
    assert run(["align", "--layers", "last", "--method", "ridge", "--name", "good", "--store", str(store)]) == 1
    kept = store / "aligners" / "good" / "aligner.json"
    record = json.loads(kept.read_text())
    record["metadata"]["run"] = "0" * 64  # as if another one had been put there by hand
    del record["seal"]
    kept.write_text(json.dumps(record))
    with pytest.raises(StructureError, match="were not evaluated on the same task"):
        compare_aligners("good", "poor", store=store)
    source = Source.of(opened, None)
    assert {result.aligner for result in source.results} == {"poor"}
    assert source.comparisons == []
    (row,) = status(opened)["stale"]
    assert (row["what"], row["why"]) == ("3 results of good", "of an earlier aligner of that name")
    told: list[Event] = []
    align("last", store=opened, method="ridge", name="good", replace=True, on_event=told.append)
    assert "the aligner good was there and is replaced; 3 results of it are removed" in [
        event.text for event in told if isinstance(event, Note)
    ]
    assert not (store / "results" / "good").exists()
    assert opened.folder("comparisons").keys("") == []
    done = evaluate(suite, store=store, data_root=data, aligners=["good"], datasets=["shapes"])
    assert [result.row() for result in Source.of(opened, None).results if result.aligner == "good"] == [
        result.row() for result in done.results
    ]


def test_a_comparison_needs_something_in_common(place: tuple[Path, Path, str]) -> None:
    store, data, suite = place
    evaluate(suite, store=store, data_root=data, aligners=["good"], datasets=["shapes"])
    with pytest.raises(StructureError, match="Run: structure eval --suite SUITE --compare good poor"):
        compare_aligners("good", "poor", store=store)
    assert run(["eval", "--store", str(store)]) == 2
    assert run(["eval", "--compare", "good", "good", "--store", str(store)]) == 2
    assert run(["eval", "--suite", suite, "--compare", "good", "god", "--store", str(store)]) == 1


def truncated(copy: Path) -> None:
    tar = copy / "test" / "1.tar"
    tar.write_bytes(tar.read_bytes()[:3000])


def uncounted(copy: Path) -> None:
    (copy / "test" / "nshards.txt").unlink()


def lacking_a_class(copy: Path) -> None:
    names = (copy / "classnames.txt").read_text().splitlines()
    (copy / "classnames.txt").write_text("\n".join(names[:2]) + "\n")


def repeating_a_class(copy: Path) -> None:
    names = (copy / "classnames.txt").read_text().splitlines()
    (copy / "classnames.txt").write_text("\n".join([*names[:-1], names[0]]) + "\n")


def without_a_slot(copy: Path) -> None:
    (copy / "zeroshot_classification_templates.txt").write_text("a {c}\na photo of it\n")


def with_an_empty_name(copy: Path) -> None:
    names = (copy / "classnames.txt").read_text().splitlines()
    (copy / "classnames.txt").write_text("\n".join([names[0], "", *names[2:]]) + "\n")


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (truncated, r"wds_colours/test/1.tar is (damaged|cut short)"),
        (uncounted, r"wds_colours/test/nshards.txt is missing; .* 2 are there.* echo 2 >"),
        (lacking_a_class, r"wds_colours/test/0.tar, member s\d+.*: label \d is outside the class list.* 2 names"),
        (repeating_a_class, r"wds_colours/classnames.txt.*stands on lines 1 and 8"),
        (without_a_slot, r"zeroshot_classification_templates.txt, line 2: the template 'a photo of it' has no"),
        (with_an_empty_name, r"wds_colours/classnames.txt, line 2 is empty"),
    ],
)
def test_a_fault_of_one_copy_is_told_with_its_place_and_the_others_go_on(
    place: tuple[Path, Path, str],
    capsys: pytest.CaptureFixture[str],
    break_it: Callable[[Path], None],
    words: str,
) -> None:
    store, data, suite = place
    break_it(data / "wds_colours")
    command = ["eval", "--suite", suite, "--aligner", "good", "--store", str(store), "--data-root", str(data), "--json"]
    assert run(command) == 1
    document = json.loads(capsys.readouterr().out)
    assert {row["dataset"] for row in document["results"]} == {"wds/shapes"}
    (failed,) = document["failed"]
    assert failed["dataset"] == "wds/colours"
    with pytest.raises(StructureError, match=words):
        raise StructureError(failed["why"])
    with pytest.raises(
        StructureError,
        match="Nothing could be evaluated: the one dataset of the suite .*, which has a fault, cannot be used here",
    ):
        evaluate(suite, store=store, data_root=data, datasets=["colours"])
    with pytest.raises(StructureError, match="1 of 2 datasets .* --require-all was given"):
        evaluate(suite, store=store, data_root=data, require_all=True)


def test_a_picture_that_does_not_decode_is_counted_and_named(place: tuple[Path, Path, str]) -> None:
    store, data, suite = place
    tar = data / "wds_colours" / "test" / "0.tar"
    body = bytearray(tar.read_bytes())
    start = body.index(b"\x89PNG") + 30
    body[start : start + 60] = bytes(60)
    tar.write_bytes(bytes(body))
    told: list[str] = []
    done = evaluate(
        suite,
        store=store,
        data_root=data,
        datasets=["colours"],
        on_event=lambda event: told.append(getattr(event, "text", "")),
    )
    row = next(row for row in done.to_json()["results"] if row["metric"] == "acc1")
    count = len(open_dataset("clip-benchmark:wds/colours", data_root=data))
    assert row["n"] == count - 1
    assert row["notes"]["unreadable"] == 1
    assert any(f"1 of {count} samples could not be read" in text for text in told)
    (skipped,) = pq.read_table(store / "samples" / "wds_colours" / "test.skipped.parquet").to_pylist()
    assert skipped["sample"] == "test/0/s0000000"
    assert "0.tar, member s0000000.png" in skipped["reason"]


def test_nothing_there_is_an_error_that_says_how_to_get_it(
    place: tuple[Path, Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, _, _ = place
    command = ["eval", "--suite", "clip-benchmark", "--store", str(store), "--data-root", str(tmp_path / "none")]
    assert run(command) == 1
    told = capsys.readouterr().err
    assert "Nothing could be evaluated: none of the 41 datasets of the suite clip-benchmark" in told
    assert str(tmp_path / "none") in told
    assert "To get it:" in told
    assert "structure datasets" in told


TASKS = """name: more
version: 1
defaults: {split: test}
tasks:
  - {dataset: 'clip-benchmark:wds/colours', kind: linear_probe, metric: lp_acc1, shots: [1, 2]}
  - {dataset: 'clip-benchmark:winoground', kind: image_caption_selection, metric: acc}
  - {dataset: 'clip-benchmark:xtd10/de', kind: zeroshot_retrieval, metric: image_retrieval_map, language: de}
  - {dataset: 'clip-benchmark:xtd10/fr', kind: zeroshot_retrieval, metric: image_retrieval_map, language: fr}
"""


def test_probes_selection_and_languages(place: tuple[Path, Path, str]) -> None:
    store, data, suite = place
    scenes = open_dataset("scenes:12", split="test", data_root=data)
    captions = [scenes.item(index).captions[0] for index in range(12)]
    rows = []
    for index in range(0, 12, 2):
        row: dict[str, object] = {"id": index // 2}
        for side in (0, 1):
            path = data / "winoground" / "data" / "images" / f"ex_{index // 2}_img_{side}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            scenes.image(index + side).save(path)
            row |= {f"image_{side}": path.stem, f"caption_{side}": captions[index + side]}
        rows.append(json.dumps(row))
    (data / "winoground" / "data" / "examples.jsonl").write_text("\n".join(rows))
    (data / "xtd10" / "images").mkdir(parents=True)
    for index in range(12):
        scenes.image(index).save(data / "xtd10" / "images" / f"{index}.png")
    (data / "xtd10" / "test_image_names.txt").write_text("".join(f"{index}.png\n" for index in range(12)))
    for code in ("de", "fr"):
        file = data / "xtd10" / f"test_1kcaptions_{code}.txt"
        file.write_text("".join(f"{code} {caption}\n" for caption in captions))
    Path(suite).write_text(TASKS)
    done = evaluate(suite, store=store, data_root=data, compare=("good", "poor"))
    values = {(row.aligner, row.dataset, row.metric): row for row in done.results}
    probe = values["good", "wds/colours", "lp_acc1"]
    assert probe.value > 2 * (probe.chance or 0)
    assert probe.provenance["training_samples"] > 30
    assert values["good", "wds/colours", "lp_acc1@2"].n == probe.n
    assert values["good", "winoground", "acc"].n == 6
    assert values["good", "winoground", "acc"].chance == pytest.approx(1 / 6)
    assert values["good", "xtd10/fr", "image_retrieval_recall@5"].chance == pytest.approx(5 / 12)
    keys = [key for key in open_store(store) if key.startswith("xtd10/")]
    assert sum("vit" in key for key in keys) == 1  # the images once, the captions for either language
    assert sum("text" in key for key in keys) == 2
    record = json.loads(next((store / "results" / "good").glob("xtd10_*_fr_*.json")).read_text())
    assert (record["dataset"], record["language"]) == ("xtd10", "fr")
    assert {(row.dataset, row.metric) for row in done.differences} == {key[1:] for key in values}


def test_items_that_were_trained_on_are_told(aligned: Store, copies: Path, tmp_path: Path) -> None:
    notes: list[Event] = []
    retrieval = "kind: zeroshot_retrieval, metric: image_retrieval_recall@1"
    others = "split: test, kind: zeroshot_classification, metric: acc1, prompts: plain"
    (tmp_path / "both.yaml").write_text(
        f"name: both\nversion: 1\ntasks:\n  - {{dataset: 'scenes:240', split: train, {retrieval}}}\n"
        f"  - {{dataset: 'clip-benchmark:wds/colours', {others}}}\n"
    )
    names = ["good", "poor"]
    suite = str(tmp_path / "both.yaml")
    done = evaluate(suite, store=aligned, aligners=names, data_root=copies, on_event=notes.append)
    met = {row.dataset: row.provenance["items_trained_on"] for row in done.results}
    assert sorted(met.values()) == [0, 240]
    told = [note.text for note in notes if isinstance(note, Note) and "too good" in note.text]
    assert told == [
        "scenes: 240 of 240 samples are in scenes/train, on which the aligner was trained, so that its numbers are too "
        "good. Extract and train on another split: --split train."
    ]


@pytest.mark.parametrize("data", [None, {"dataset": "scenes"}, {"dataset": "elsewhere", "split": "train"}])
def test_how_many_were_trained_on_is_not_told_where_nobody_knows(place: tuple[Path, Path, str], data: object) -> None:
    store, root, suite = place
    folder = open_store(store).folder("aligners", "poor")
    record = json.loads(folder.read("aligner.json"))
    record["metadata"]["data"] = data
    del record["seal"]
    folder.write("aligner.json", json.dumps(record).encode())
    done = evaluate(suite, store=store, aligners=["poor"], data_root=root, datasets=["shapes"])
    assert {row.provenance["items_trained_on"] for row in done.results} == {None}
