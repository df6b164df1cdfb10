"""Zero-shot on one's own labels without a suite file, and the suite file that is printed for own data."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from structure.cli.main import run
from structure.pipeline import align, evaluate, extract
from structure.pipeline.datasets import open_dataset
from structure.pipeline.page import results
from structure.pipeline.page.source import Source
from structure.pipeline.results import every_result
from structure.pipeline.suites.own_labels import OwnLabels
from structure.pipeline.suites.suite import load_suite
from structure.store import open_store
from structure.store.errors import StructureError


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of scenes labelled by colour, with a split, and a store with an aligner of scenes."""
    place = tmp_path_factory.mktemp("own")
    scenes = open_dataset("scenes:60", split="test", data_root=place)
    colours = scenes.tasks["colour"].classes
    with open(place / "my.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "caption", "label", "split"])
        for number in range(len(scenes)):
            colour = scenes.item(number).labels.get("colour")
            scenes.image(number).save(place / f"{number}.png")
            if isinstance(colour, int):
                split = "test" if number % 3 else "train"
                said = scenes.item(number).captions[0]
                table.writerow([f"{number}.png", said, colours[colour].upper(), split])
    extract(["bundled:scenes-vit", "bundled:scenes-text"], "scenes:120", store=place / "store", layers=["block.03"])
    align("last", store=place / "store", method="ridge", name="scenes")
    return place


def evaluated(place: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict:
    store, data = str(place / "store"), f"pairs:{place / 'my.csv'}"
    code = run(["eval", "--dataset", data, *more, "--store", store, "--json", "--quiet", "--yes"])
    said = capsys.readouterr()
    assert code == 0, said.err
    return json.loads(said.out)


def test_labels_of_a_table_are_asked_without_a_suite_file(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = evaluated(place, capsys, "--label", "label", "--prompt", "a {c} shape", "--prompt", "something {c}")
    (row,) = [row for row in done["results"] if row["metric"] == "acc1"]
    assert done["suite"] == "labels@1"
    assert (row["split"], row["dataset"]) == ("test", "my")  # the test part, not the one to train on
    assert row["value"] > 2 * row["chance"]
    (kept,) = [
        one for one in every_result(open_store(place / "store").folder("results", "scenes")) if one.metric == "acc1"
    ]
    assert kept.provenance["templates"] == 2
    assert "--dataset" in kept.provenance["asked"]
    assert "--prompt 'a {c} shape'" in kept.provenance["asked"]


def test_classes_are_bound_by_name_in_any_order(
    place: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    names = sorted({row["label"] for row in csv.DictReader((place / "my.csv").read_text().splitlines())})
    listed, worded, plain = tmp_path / "classes.txt", tmp_path / "words.yaml", tmp_path / "plain.txt"
    plain.write_text("\n".join(name.lower() for name in names))
    listed.write_text("\n".join(name.lower() for name in reversed(names)))
    worded.write_text("\n".join(f'"{name}": {name.lower()}' for name in reversed(names)))
    values, digests = [], set()
    for file in (plain, listed, worded):
        done = evaluated(place, capsys, "--prompt", "a {c} shape", "--classes", str(file))
        values.append(next(row["value"] for row in done["results"] if row["metric"] == "acc1"))
        kept = every_result(open_store(place / "store").folder("results", "scenes"))
        digests |= {one.provenance["prompts_digest"] for one in kept if one.provenance["templates"] == 1}
    assert len(set(values)) == 1
    assert len(digests) == 1  # of the words in the order of the labels
    other = tmp_path / "other.txt"
    other.write_text("\n".join([*names[1:], "zebra"]))
    with pytest.raises(StructureError, match="are not named there"):
        evaluate(OwnLabels(f"pairs:{place / 'my.csv'}", classes=str(other)), store=place / "store")


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--dataset", "pairs:my.csv", "--prompt", "a photo"], "has no {c}"),
        (["--dataset", "pairs:my.csv", "--suite", "scenes"], "--suite, --datasets and --prompts are of a suite"),
        (["--suite", "scenes", "--prompt", "a {c}"], "--prompt is of --dataset"),
        (["--dataset", "pairs:my.csv", "--label", "colour"], "Unknown label 'colour'"),
        (["--dataset", "pairs:my.csv", "--classes", "none.txt"], "names no class"),
        ([], "--dataset pairs:FILE"),
    ],
)
def test_mistakes_are_told(
    flags: list[str], told: str, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    assert run(["eval", *flags, "--store", "store", "--yes"]) in (1, 2)
    assert told in " ".join(capsys.readouterr().err.split())


def test_the_template_is_a_suite_that_loads_and_runs(
    place: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(["suites", "--template"]) == 0
    text = capsys.readouterr().out
    (tmp_path / "mine.yaml").write_text(text)
    suite = load_suite(str(tmp_path / "mine.yaml"))
    assert {task.kind for task in suite.tasks} == {"zeroshot_classification", "zeroshot_retrieval"}
    for comment in ("linear_probe", "auroc"):  # what is offered as a comment is right too
        (line,) = [line for line in text.splitlines() if line.startswith("  # - ") and comment in line]
        text = text.replace(line, line.replace("# - ", "- ", 1))
    (tmp_path / "more.yaml").write_text(text)
    assert len(load_suite(str(tmp_path / "more.yaml")).tasks) == 4
    mine = tmp_path / "mine.yaml"
    mine.write_text(mine.read_text().replace("pairs:mine/pairs.jsonl", f"pairs:{place / 'my.csv'}"))
    done = evaluate(str(mine), store=place / "store")
    assert {row.metric for row in done.results} >= {"acc1", "image_retrieval_recall@10"}


def test_labels_that_are_lists_are_of_samples_with_several_classes(
    place: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    scenes = open_dataset("scenes:60", split="test", data_root=place)
    lines = []
    for number in range(40):
        said = scenes.item(number).captions[0]
        labels = [word for word in ("red", "blue", "green", "circle", "square") if word in said]
        lines.append({"image": str(place / f"{number}.png"), "caption": said, "label": labels})
    (tmp_path / "several.jsonl").write_text("\n".join(map(json.dumps, lines)))
    command = ["eval", "--dataset", f"pairs:{tmp_path / 'several.jsonl'}", "--prompt", "{c}", "--store"]
    assert run([*command, str(place / "store"), "--json", "--quiet", "--yes"]) == 0
    done = json.loads(capsys.readouterr().out)
    rows = {row["metric"]: row for row in done["results"]}
    assert set(rows) == {"mean_average_precision", "auroc"}
    assert rows["auroc"]["chance"] == 0.5
    assert rows["auroc"]["value"] > 0.55
    named = sorted({name for line in lines for name in line["label"]})
    assert [row["class"] for row in done["by_class"]] == named
    counts = {name: sum(name in line["label"] for line in lines) for name in named}
    assert {row["class"]: row["positives"] for row in done["by_class"]} == counts
    assert run([*command, str(place / "store"), "--yes"]) == 0
    assert "AUROC by class" in capsys.readouterr().out
    section = results.section(Source.of(open_store(place / "store"), None))
    (table,) = [block for block in section.blocks if getattr(block, "caption", "").startswith("AUROC by class")]
    assert [row["class"] for row in table.rows] == named


def test_a_bare_folder_is_one_of_class_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "scenes").mkdir()
    assert OwnLabels("photos").asked.startswith("--dataset folder:photos ")
    assert OwnLabels("scenes").dataset == "scenes"
    assert OwnLabels("nowhere").dataset == "nowhere"
