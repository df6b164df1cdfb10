"""An evaluation that is asked for again is read, as long as everything that it was made from is the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from structure.cli.main import run
from structure.pipeline import align, evaluate
from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.datasets import open_dataset
from structure.pipeline.evaluation import judge_tasks
from structure.pipeline.evaluation.evaluation import Evaluation
from structure.store import Store, open_store
from structure.store.errors import StructureError
from tests.light_command import run_light

SUITE = """name: {name}
version: 1
defaults: {{prompts: '{data}/words.yaml'}}
tasks:
  - {{dataset: 'pairs:{data}/rows.jsonl?label=colour', kind: zeroshot_classification, metric: acc1}}
  - {{dataset: 'pairs:{data}/absent.jsonl', kind: zeroshot_retrieval, metric: image_retrieval_recall@1}}
"""
WORDS = "name: words\nversion: 1\ndatasets: {rows: {templates: ['%s{c}']}}\n"


@pytest.fixture(scope="module")
def aligned(scenes_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two aligners; read-only for tests."""
    place = tmp_path_factory.mktemp("aligned") / "store"
    shutil.copytree(scenes_store.url, place)
    for name in ("one", "other"):
        align("last", store=place, options=TrainingOptions(dim=8, epochs=2, seed=len(name)), name=name)
    return place


@pytest.fixture
def place(aligned: Path, tmp_path: Path) -> Path:
    """A folder with that store, a labelled file of 40 scenes, prompts and two suites of it."""
    shutil.copytree(aligned, tmp_path / "store")
    scenes, rows = open_dataset("scenes:40", split="test", data_root=tmp_path), []
    names = scenes.tasks["colour"].classes
    for number in range(40):
        item = scenes.item(number)
        scenes.image(number).save(tmp_path / f"{number}.png")
        colour = names[item.labels.get("colour", 0)]
        rows.append({"image": f"{number}.png", "caption": item.captions[0], "colour": colour})
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "words.yaml").write_text(WORDS % "")
    for name in ("first", "second"):
        (tmp_path / f"{name}.yaml").write_text(SUITE.format(name=name, data=tmp_path))
    return tmp_path


@pytest.fixture
def ask(place: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Evaluation, bool]]:
    """Evaluates, and says whether anything was computed."""

    def asked(suite: str = "first", **options: object) -> tuple[Evaluation, bool]:
        ran = []
        whole = judge_tasks.judge_tasks
        with monkeypatch.context() as patch:
            patch.setattr(judge_tasks, "judge_tasks", lambda *given: ran.append(given) or whole(*given))
            given = {"aligners": ["one"], **options}
            return evaluate(str(place / f"{suite}.yaml"), store=place / "store", data_root=place, **given), bool(ran)

    return asked


def test_one_that_completes_what_a_stopped_one_left_is_saved_too(
    place: Path, ask: Callable[..., tuple[Evaluation, bool]]
) -> None:
    before = set(open_store(place / "store"))
    ask()
    shutil.rmtree(place / "store/results/one")
    written = set(open_store(place / "store")) - before
    assert written
    for key in written:
        for marker in (place / "store/features" / key / "done").iterdir():
            marker.unlink()
    assert [ask()[1], ask()[1]] == [True, False]


def test_the_same_question_is_answered_from_the_store(
    place: Path, ask: Callable[..., tuple[Evaluation, bool]], capsys: pytest.CaptureFixture[str]
) -> None:
    first, ran = ask()
    assert ran
    assert first.encoder_passes
    assert len(first.absent) == 1
    again, ran = ask()
    assert not ran
    assert replace(again, seconds=first.seconds, encoder_passes=first.encoder_passes) == first
    assert ask("second")[1]  # another suite, whose numbers stand beside
    assert not ask()[1]
    command = ["eval", "--suite", str(place / "first.yaml"), "--aligner", "one", "--store", str(place / "store")]
    assert run([*command, "--data-root", str(place), "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["results"] == json.loads(json.dumps(first.to_json()))["results"]
    assert "this evaluation is saved" in shown.err
    assert "this evaluation is saved" in run_light(*command, "--data-root", str(place))
    with pytest.raises(StructureError, match="--require-all was given"):
        ask(require_all=True)


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def predictions(place: Path) -> Path:
    (found,) = (place / "store/results/one/predictions").rglob("*.parquet")
    return found


def record(place: Path) -> Path:
    (found,) = (place / "store/results/one/evaluations").iterdir()
    return found


def retrain(place: Path) -> None:
    options = TrainingOptions(dim=8, epochs=1, learning_rate=3e-3)
    align("last", store=place / "store", options=options, name="one", replace=True)


def relabel(place: Path) -> None:
    lines = [json.loads(line) for line in (place / "rows.jsonl").read_text().splitlines()]
    lines[0]["colour"] = next(line["colour"] for line in lines if line["colour"] != lines[0]["colour"])
    (place / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def append(place: Path) -> None:
    shutil.copy(place / "rows.jsonl", place / "absent.jsonl")


def withdraw(place: Path) -> None:
    store = open_store(place / "store")
    (dataset,) = {features.manifest.dataset for features in store.feature_sets() if "rows" in features.key}
    item = store.samples(dataset, "all").item_ids[3]
    (place / "ids.txt").write_text(item)
    dropped = ["store", "drop-items", "--dataset", dataset, "--ids", str(place / "ids.txt"), "--yes"]
    assert run([*dropped, "--store", store.url]) == 0


CHANGES: dict[str, Callable[[Path], object]] = {
    "the aligner is another": retrain,
    "a label is another": relabel,
    "a prompt is another": lambda place: (place / "words.yaml").write_text(WORDS % "a "),
    "data are there that were absent": append,
    "a sample was withdrawn": withdraw,
    "features that it read are gone": lambda place: shutil.rmtree(
        next((place / "store/features/rows").glob("*/scenes-vit"))
    ),
    "the predictions are gone": lambda place: predictions(place).unlink(),
    "the predictions are damaged": lambda place: flipped(predictions(place)),
    "the table for CLIP_benchmark is gone": lambda place: next((place / "store/results/one").glob("*.json")).unlink(),
    "the numbers are gone": lambda place: (place / "store/results/one/results.parquet").unlink(),
    "the record is damaged": lambda place: flipped(record(place)),
    "the record is empty": lambda place: record(place).write_bytes(b""),
    "the record is that of another aligner": lambda place: shutil.copy(
        next((place / "store/results/other/evaluations").iterdir()), record(place)
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_it_is_evaluated_again_where(place: Path, ask: Callable[..., tuple[Evaluation, bool]], change: str) -> None:
    ask(aligners=["other"])
    first, _ = ask()
    assert not ask()[1]
    CHANGES[change](place)
    found, ran = ask()
    assert ran
    ask()  # an evaluation that renews a sample index is not saved: others may write there at the same time
    assert not ask()[1]
    if change.startswith(("the predictions", "the table", "the numbers", "the record")):
        assert found.results == first.results


REFUSED: dict[str, Callable[[Path], object]] = {
    "damaged, or of another aligner": lambda place: flipped(place / "store/aligners/one/aligner.safetensors"),
    "changed since it was extracted": lambda place: shutil.copy(place / "1.png", place / "0.png"),
}


@pytest.mark.parametrize("message", REFUSED)
def test_it_is_refused_as_ever_where(place: Path, ask: Callable[..., tuple[Evaluation, bool]], message: str) -> None:
    ask()
    REFUSED[message](place)
    with pytest.raises(StructureError, match=message):
        ask()
