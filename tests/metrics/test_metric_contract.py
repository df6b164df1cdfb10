"""What every registered evaluation metric must hold, whoever wrote it; and how the registry answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from structure.pipeline.metrics.confusion_areas import segmentation_areas
from structure.pipeline.metrics.paired_comparison import Pairing
from structure.pipeline.metrics.predictions import predict
from structure.pipeline.metrics.registry import METRICS, evaluated_metrics, metric_named, metrics_of, title_of
from structure.pipeline.metrics.score import (
    TaskScores,
    score_classification,
    score_multilabel,
    score_predictions,
    score_retrieval,
    score_selection,
)
from structure.pipeline.metrics.score_segmentation import score_segmentation
from structure.pipeline.page.blocks import METRIC, Table
from structure.pipeline.page.glossary import section
from structure.pipeline.page.metric_names import other_direction
from structure.pipeline.recipe.summarise import held_out_results
from structure.store.errors import StructureError

GUESS = 0.0


def scored(name: str, signal: float, seed: int = 0) -> TaskScores:
    """The metric's task with embeddings that hold `signal` of the truth: 0 is a random guess."""
    random = np.random.default_rng(seed)
    kind, metrics = METRICS[name], [metric_named(named(name))]

    def embedded(truth: np.ndarray) -> np.ndarray:
        return np.asarray(signal * truth + random.standard_normal(truth.shape), dtype=np.float32)

    if kind.needs_multilabel:
        targets = np.random.default_rng(1).integers(0, 2, (400, 6))
        ids = [str(i) for i in range(400)]
        return score_multilabel([embedded(targets + 0.01)], np.eye(6), targets, ids=ids, metrics=metrics)
    if kind.task in ("zeroshot_classification", "linear_probe"):
        labels, ids = np.arange(420) % 7, [str(i) for i in range(420)]
        logits = embedded(np.eye(7)[labels])
        if kind.task == "zeroshot_classification":
            return score_classification([logits], np.eye(7), labels, ids=ids, classes=list("abcdefg"), metrics=metrics)
        said = predict(logits, labels)
        shots = {"hits@3": said.hits(1).astype(float)}
        return score_predictions(said, ids=ids, classes=list("abcdefg"), metrics=metrics, columns=shots)
    if kind.task == "zeroshot_retrieval":
        images, owner = np.random.default_rng(2).standard_normal((200, 24)), np.repeat(np.arange(200), 3)
        names = {"image_ids": [f"i{i}" for i in range(200)], "text_ids": [f"t{i}" for i in range(600)]}
        return score_retrieval(images, embedded(images[owner]), owner, metrics=metrics, **names)
    if kind.task == "image_caption_selection":
        texts, group = np.random.default_rng(3).standard_normal((600, 24)), np.repeat(np.arange(300), 2)
        groups = [str(i) for i in range(300)]
        return score_selection(
            embedded(texts), texts, group_of_image=group, group_of_text=group, groups=groups, metrics=metrics
        )
    truth = np.random.default_rng(4).integers(0, 4, (30, 20, 20))
    guess = embedded(np.eye(4)[truth]).argmax(axis=-1)
    ids = [str(i) for i in range(30)]
    return score_segmentation(segmentation_areas(guess, truth, classes=4), ids=ids, classes="abcd", metrics=metrics)


def named(name: str) -> str:
    """The name in results: 3 for k."""
    return name.replace("@k", "@3")


@pytest.mark.parametrize("name", METRICS)
class TestMetric:
    def test_says_what_it_is(self, name: str) -> None:
        kind = METRICS[name]
        assert kind.bounds[0] < kind.bounds[1]
        assert len(kind.meaning) > 20
        assert ("@k" in kind.notation) == ("@k" in name)
        assert title_of(named(name)) == kind.notation.replace("@k", "@3") != named(name)
        others = [METRICS[other] for other in METRICS if other != name]
        assert kind.notation not in {other.notation for other in others}
        assert kind.meaning not in {other.meaning for other in others}

    def test_lies_within_its_bounds_and_its_interval(self, name: str) -> None:
        low, high = METRICS[name].bounds
        interval = scored(name, 1.0).intervals[named(name)]
        assert low <= interval.low <= interval.value <= interval.high <= high
        assert interval.n > 1

    def test_chance_is_what_a_random_guess_gives(self, name: str) -> None:
        values = [scored(name, GUESS, seed).intervals[named(name)].value for seed in range(16)]
        chance = scored(name, GUESS).chance[named(name)]
        error = max(4 * np.std(values, ddof=1) / np.sqrt(len(values)), 1e-3 * chance)
        assert np.mean(values) == pytest.approx(chance, abs=error)

    def test_better_embeddings_are_better_in_its_direction(self, name: str) -> None:
        good, poor = scored(name, 2.0), scored(name, 0.3)
        difference = Pairing.of(good.samples, poor.samples).difference(named(name))
        assert difference is not None
        shown = good.metrics()[named(name)] - poor.metrics()[named(name)]
        assert difference.value == pytest.approx(shown, abs=1e-6), "the difference is not that of the values shown"
        assert (difference.low > 0) == METRICS[name].higher_is_better
        assert (difference.high < 0) != METRICS[name].higher_is_better

    def test_is_in_the_glossary_of_a_page_that_uses_it(self, name: str) -> None:
        source: Any = SimpleNamespace(
            results=[SimpleNamespace(metric=named(name))], summaries=(), sweeps=(), aligners={}, rankings=()
        )
        (table,) = section(source).blocks
        assert isinstance(table, Table)
        assert {METRIC: name, "meaning": METRICS[name].meaning} in table.rows


@pytest.mark.parametrize("name", [name for name in METRICS if METRICS[name].task == "zeroshot_retrieval"])
def test_chance_of_pairs_is_that_of_images_with_one_caption(name: str) -> None:
    images, ids = np.random.default_rng(0).standard_normal((40, 6)), [str(i) for i in range(40)]
    metric = metric_named(named(name))
    done = score_retrieval(images, images, np.arange(40), image_ids=ids, text_ids=ids, metrics=[metric])
    assert metric.chance_of_pairs(40) == pytest.approx(done.chance[metric.name], rel=1e-12)
    opposite = METRICS[name].opposite
    assert METRICS[opposite].opposite == name
    assert other_direction(metric.name) == named(opposite) != metric.name


def test_what_is_not_of_retrieval_has_no_chance_among_pairs() -> None:
    assert metric_named("acc1").chance_of_pairs(40) is None
    facts = {"validation_pairs": 40, "test_pairs": 80, "test_metrics": {"image_retrieval_recall@10": 0.5}}
    rows = held_out_results("a", {**facts, "metrics": {"contrastive": 2.0, "text_retrieval_recall@1": 0.1}})
    assert [row.chance for row in rows] == [None, 1 / 40, 10 / 80]


def test_a_number_is_parsed_once_and_for_all() -> None:
    metric = metric_named("image_retrieval_recall@25")
    assert (metric.k, metric.title) == (25, "T→I R@25")
    for wrong in ("image_retrieval_recall", "image_retrieval_recall@k", "image_retrieval_recall@0", "acc1@2x"):
        with pytest.raises(StructureError, match="Unknown evaluation metric"):
            metric_named(wrong)
    names = [metric.name for metric in metrics_of("zeroshot_retrieval", (1, 5))]
    assert names[:4] == [f"{side}_retrieval_recall@{k}" for k in (1, 5) for side in ("image", "text")]


OWN = '''
import numpy as np
from structure.pipeline.metrics.metric import SampleMean


class ReciprocalRank(SampleMean):
    """Mean over captions of 1 / rank of their image."""

    task = "zeroshot_retrieval"
    notation = "T→I MRR"
    meaning = "mean reciprocal rank of the image of a caption"

    def chosen(self, answers):
        return answers.where("of", "image")

    def values(self, answers):
        return 1 / (answers.column("rank") + 1)

    def chance(self, answers):
        return float(np.mean(1 / np.arange(1, answers.units + 1)))
'''


def test_another_package_adds_one_with_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A suite names it: value, interval, chance, notation and paired difference are there."""
    (tmp_path / "own_metric.py").write_text(OWN, encoding="utf-8")
    metadata = tmp_path / "own_metric-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: own-metric\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[structure.metrics]\nmrr = own_metric:ReciprocalRank\n")
    (tmp_path / "mine.yaml").write_text(
        "name: mine\nversion: 1\ntasks:\n  - {dataset: coco, kind: zeroshot_retrieval, metric: mrr, ks: [1]}\n"
    )
    code = (
        "import numpy as np, sys; from structure.pipeline.suites.suite import load_suite;"
        "from structure.pipeline.metrics.registry import evaluated_metrics, title_of;"
        "from structure.pipeline.metrics.score import score_retrieval;"
        "from structure.pipeline.metrics.paired_comparison import Pairing;"
        "(task,) = load_suite('mine.yaml').tasks;"
        "metrics = evaluated_metrics(task.kind, task.numbers, named=task.metric);"
        "x = np.random.default_rng(0).normal(size=(30, 5)); ids = [str(i) for i in range(30)];"
        "done = score_retrieval(x, x, np.arange(30), image_ids=ids, text_ids=ids, metrics=metrics);"
        "pair = Pairing.of(done.samples, done.samples).difference('mrr');"
        "print(done.intervals['mrr'].value, round(done.chance['mrr'], 3), pair.value, title_of('mrr') == 'T→I MRR')"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "1.0 0.133 0.0 True"), done.stderr


def test_a_metric_that_is_no_default_is_computed_where_a_suite_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(METRICS["text_acc"], "is_default", False)
    names = [metric.name for metric in evaluated_metrics("image_caption_selection")]
    assert names == ["image_acc", "acc"]
    named = evaluated_metrics("image_caption_selection", named="text_acc")
    assert [metric.name for metric in named] == ["image_acc", "text_acc", "acc"]
