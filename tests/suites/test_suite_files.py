"""The suites that ship, choosing from them, and mistakes in a suite file; published numbers; CLIP_benchmark's JSON."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from structure.pipeline.evaluation.clip_benchmark_json import Record, read_records
from structure.pipeline.results import Result
from structure.pipeline.suites import published
from structure.pipeline.suites.prompt_set import prompt_set_names
from structure.pipeline.suites.published import published_comparison, published_numbers
from structure.pipeline.suites.suite import SuiteTask, load_suite, suite_names
from structure.store.errors import DamageError, StructureError
from structure.store.files_at_url import open_files

HEAD = "name: mine\nversion: 1\ndefaults: {kind: zeroshot_classification, metric: acc1, prompts: plain}\n"


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", suite_names())
def test_shipped_suites_load_and_name_prompt_sets_that_exist(name):
    suite = load_suite(name)
    assert suite.name == name
    for task in (*suite.tasks, *suite.on_request):
        assert not task.prompts or task.prompts in prompt_set_names()


def test_clip_benchmark_has_its_41_sets_and_collections():
    suite = load_suite("clip-benchmark")
    assert len(suite.tasks) == len({task.name for task in suite.tasks}) == 41
    sizes = {"vtab": 19, "vtab+": 36, "retrieval": 3, "imagenet_robustness": 5, "sugar_crepe": 7}
    assert {name: len(suite.select([name])) for name in suite.collections} == sizes
    assert {task.kind for task in suite.select(["retrieval"])} == {"zeroshot_retrieval"}
    assert {task.kind for task in suite.select(["sugar_crepe"])} == {"image_caption_selection"}
    assert suite.select(["voc2007_multilabel"])[0].metric == "mean_average_precision"
    assert {task.split for task in suite.tasks} == {"test"}


def test_the_papers_suite_has_22_and_2():
    tasks = load_suite("structure-paper").tasks
    assert sum(task.kind == "zeroshot_classification" for task in tasks) == 22
    assert [(task.name, task.split) for task in tasks if task.kind == "zeroshot_retrieval"] == [
        ("flickr30k", "test"),
        ("coco", "val2014"),
    ]


def test_scenes_asks_four_labels_retrieval_and_segmentation():
    suite = load_suite("scenes")
    assert [task.title for task in suite.tasks] == [
        "scenes/shape",
        "scenes/colour",
        "scenes/count",
        "scenes/relation",
        "scenes",
        "scenes",
    ]
    assert [task.kind for task in suite.tasks[-2:]] == ["zeroshot_retrieval", "segmentation"]
    assert suite.label == "scenes@2"


def test_tasks_are_chosen_by_any_of_their_names_in_the_suites_order():
    suite = load_suite("clip-benchmark")
    one = suite.select(["clip-benchmark:wds/vtab/cifar10"])
    assert len(one) == 1
    assert suite.select(["cifar10"]) == suite.select(["vtab/cifar10"]) == suite.select(["wds/vtab/cifar10"]) == one
    assert [task.name for task in suite.select(["cifar10", "mnist", "cifar10"])] == ["wds/mnist", "wds/vtab/cifar10"]
    assert suite.select() == suite.tasks
    with pytest.raises(
        StructureError, match=r"Unknown dataset of suite clip-benchmark 'cifar1O'. Did you mean .*cifar10"
    ):
        suite.select(["mnist", "cifar1O"])


def test_a_suite_of_ones_own(tmp_path):
    text = HEAD + "tasks:\n  - folder:/data/flowers5\n  - {dataset: coco, kind: zeroshot_retrieval, ks: [2], "
    text += "metric: text_retrieval_recall@2}\ncollections:\n  both: [flowers5, coco]\n"
    suite = load_suite(written(tmp_path, text))
    assert [task.name for task in suite.tasks] == ["flowers5", "coco"]
    assert suite.tasks[0].split is None
    assert suite.tasks[1].ks == (2,)
    assert suite.select(["both"]) == suite.tasks


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tasks:\n  - {dataset: coco, splt: test}\n", r"line 5: unknown key 'splt'. Did you mean split"),
        ("task: []\n", r"line 4: unknown key 'task'. Did you mean tasks"),
        ("tasks: []\n", r"line 4: a suite needs at least one task"),
        (
            "tasks:\n  - {dataset: coco, metric: acc}\n",
            r"line 5: Unknown metric of zeroshot_classification 'acc'. Did you mean acc\d",
        ),
        (
            "tasks:\n  - {dataset: coco, kind: zeroshot_retrieval, metric: text_retrieval_recall@7}\n",
            r"text_retrieval_recall@",
        ),
        (
            "tasks:\n  - {dataset: coco, kind: retrieval}\n",
            r"line 5: Unknown kind of task 'retrieval'. Did you mean zeroshot_retrieval",
        ),
        ("tasks:\n  - {dataset: coco, prompts: null}\n", r"line 5: zeroshot_classification of coco needs 'prompts'"),
        ("tasks:\n  - {split: test}\n", r"line 5: the task needs 'dataset'"),
        ("tasks:\n  - coco\n  - coco\n", r"line 6: coco .* stands twice"),
        ("tasks:\n  - {dataset: coco, ks: [0]}\n", r"line 5: 'ks' is \[0\]"),
        (
            "tasks:\n  - wds:a\ncollections:\n  c:\n    - wds:b\n",
            r"line 8: Unknown dataset 'wds:b'. Did you mean wds:a",
        ),
    ],
)
def test_mistakes_in_a_suite_are_named_with_their_line(tmp_path, text, words):
    with pytest.raises(StructureError, match=f"(?s)mine.yaml.*{words}"):
        load_suite(written(tmp_path, HEAD + text))


def test_an_unknown_suite_offers_the_nearest():
    with pytest.raises(StructureError, match=r"Unknown suite 'clipbenchmark'. Did you mean clip-benchmark"):
        load_suite("clipbenchmark")


def test_tables_are_read_for_what_they_name_alone(monkeypatch):
    known = {(number.dataset, number.metric) for number in published._everything()}
    assert len(known) > 20
    assert all(published_numbers(*each) for each in known)
    monkeypatch.setattr(published, "_everything", lambda: pytest.fail("the tables are read"))
    assert published_numbers("of-my-own", "acc1") == []


def test_published_numbers_are_those_of_the_table(golden):
    """Every number of the tidy table, found again under our names."""
    ours = {"top1": "acc1", "i2t_r@1": "text_retrieval_recall@1", "t2i_r@1": "image_retrieval_recall@1"}
    names = {"kitti": "kitti_closest_vehicle_distance", "flickr30k_1k": "flickr30k", "coco_val2014_40504": "coco"}
    with (golden.parent / "spec" / "paper_results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 832
    for row in rows:
        dataset = names.get(row["dataset"], row["dataset"])
        found = published_numbers(
            dataset, ours[row["metric"]], method=row["method"], vision=row["vision"], text=row["text"]
        )
        assert float(row["value_percent"]) / 100 in [pytest.approx(n.value) for n in found if n.table == row["table"]]


def test_a_number_is_comparable_only_under_the_same_protocol():
    (number,) = published_numbers("wds/stl10", "acc1", method="CSA+Similar+R_S")
    assert number.value == 0.917
    assert number.source.startswith("STRUCTURE")
    same = number.protocol.differences(samples=8000, classes=10, prompt_set="structure-paper@1")
    assert same == []
    other = number.protocol.differences(samples=500, classes=10, prompt_set="plain@1")
    assert other == ["500 test images, published 8,000", "prompts plain@1, published structure-paper"]
    coco = published_numbers("coco", "image_retrieval_recall@1", method="CLIP")[0]
    assert coco.protocol.differences(samples=5000) == ["5,000 test images, published 40,504"]
    mnist = published_numbers("wds/mnist", "acc1", method="CLIP")[0]
    assert "doughnut" in mnist.protocol.differences(samples=10000, classes=10, prompt_set="structure-paper")[0]
    assert published_numbers("svhn", "acc1") == []


def test_records_have_clip_benchmarks_names_and_strict_json(tmp_path):
    record = Record("wds/vtab/pcam", "a/b", "structure", "zeroshot_classification", {"acc1": 0.5, "acc5": math.nan})
    assert record.file_name == "vtab_pcam_structure_a_b_en_zeroshot_classification.json"

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    document = json.loads(record.to_json(), parse_constant=refuse)
    assert list(document) == ["dataset", "model", "pretrained", "task", "metrics", "language"]
    assert document["dataset"] == "wds/vtab/pcam"
    assert document["metrics"] == {"acc1": 0.5, "acc5": None}
    folder = open_files(tmp_path / "results")
    folder.write(record.file_name, record.to_json().encode())
    (back,) = read_records(folder)
    assert math.isnan(back.metrics["acc5"])
    assert back.metrics["acc1"] == 0.5


@given(
    st.dictionaries(st.text(max_size=8), st.floats(allow_infinity=False, allow_nan=False), max_size=4),
    st.text(max_size=9),
)
def test_records_come_back_as_they_were(metrics, dataset):
    record = Record(dataset, "m", "p", "t", metrics, "it")
    assert Record.from_json(record.to_json(), name="x") == record


def test_clip_benchmarks_own_file_with_a_bare_nan_is_read():
    text = '{"dataset": "wds/mnist", "model": "m", "pretrained": "p", "task": "t", "metrics": {"acc5": NaN}, '
    text += '"language": "en"}'
    assert math.isnan(Record.from_json(text, name="x").metrics["acc5"])


@pytest.mark.parametrize("text", ['{"dataset": "wds/mn', "[]", "{}", '{"metrics": {"acc1": "good"}}', '{"metrics": 3}'])
def test_a_truncated_or_foreign_file_is_not_taken(tmp_path, text):
    (tmp_path / "one.json").write_text(text)
    with pytest.raises(DamageError, match=r"one\.json.*evaluate again"):
        read_records(open_files(tmp_path))


def test_an_infinite_metric_is_a_fault():
    with pytest.raises(StructureError, match="acc1 is infinite"):
        Record("d", "m", "p", "t", {"acc1": math.inf})


def result(dataset: str, metric: str, n: int, **facts: object) -> Result:
    return Result("mine", "s@1", dataset, "t", metric, 0.5, 0.4, 0.6, n, 0.1, facts)


def test_published_numbers_stand_beside_ours_and_say_what_differs():
    encoders = {
        "vision": "hf:facebook/dinov2-giant",
        "text": "hf:sentence-transformers/all-roberta-large-v1",
    }
    ours = result("wds/stl10", "acc1", 8000, classes=10, prompt_set="structure-paper@1", encoders=encoders)
    rows = [entry.row() for entry in published_comparison([ours])]
    best = next(row for row in rows if row["method"] == "Linear+Similar+R_S" and row["same_encoders"])
    assert (best["value"], best["published"], best["protocol"]) == (0.5, 0.926, "same")
    clip = next(row for row in rows if row["method"] == "CLIP")
    assert not clip["same_encoders"]
    fewer = result("wds/stl10", "acc1", 800, classes=10, prompt_set="clip-benchmark@1", encoders=encoders)
    told = published_comparison([fewer])[0].row()["protocol"]
    assert told == (
        "different protocol: 800 test images, published 8,000; prompts clip-benchmark@1, published structure-paper"
    )
    karpathy = result("coco", "image_retrieval_recall@1", 5000, images=5000)
    assert "5,000 test images, published 40,504" in published_comparison([karpathy])[0].row()["protocol"]
    assert published_comparison([result("mine", "acc1", 10)]) == []


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        ("pairs:mine/list.csv?sep=;&images=photos/small&percentile=0.5,99.5", "list"),
        ("pairs:mine/pairs.jsonl?split=subset", "mine"),
        ("hf:saved/birds?caption=caption.de", "birds"),
        ("folder:birds/?splits=seg_train/seg_train,seg_test/seg_test", "birds"),
        ("wds:shards/00?.tar", "00?.tar"),
        ("scenes", "scenes"),
    ],
)
def test_options_of_a_dataset_are_no_part_of_its_name(dataset: str, name: str) -> None:
    assert SuiteTask(dataset, "zeroshot_classification", "acc1").name == name
