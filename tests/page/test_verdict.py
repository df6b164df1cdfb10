"""The verdict says what the data allow: who is best, how surely, what is missing, and a command that works."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import typer

from structure.cli.main import app
from structure.pipeline.page import pivot, verdict
from structure.pipeline.page.blocks import Pivot, Text, Verdict
from structure.pipeline.page.html import render
from structure.pipeline.page.leaderboard import headline_boards
from structure.pipeline.page.source import Source
from structure.pipeline.page.title import title
from structure.pipeline.results import FILE, HELD_OUT, Result, keep_results, read_table, write_table
from structure.pipeline.shown_paths import shown_path
from structure.store import Store, open_store
from structure.store.sample_table import SampleItem, Samples
from structure.store.sealed_tables import packed

N = 120
"""Test pairs."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = open_store(tmp_path / "store")
    samples = [SampleItem(f"{n}", (f"caption {n}",), digest=f"d{n}") for n in range(2 * N)]
    made.put_samples(Samples.build("icons", "train", samples))
    return made


def trained(store: Store, name: str, hits: int, *, method: str = "linear", pairs: int = N, **facts: Any) -> None:
    """An aligner with `hits` of N test queries at rank 1, always the first ones, and the others nowhere."""
    rank = np.where(np.arange(N) < hits, 0, 50).astype(np.int32)
    queries = [str(n) for n in range(N)]
    table = pa.table(
        {
            "query": queries * 2,
            "of": ["image"] * N + ["text"] * N,
            "item": queries * 2,
            "rank": np.concatenate([rank, rank]),
            "average_precision": np.ones(2 * N),
        }
    )
    write_table(store.folder("aligners", name), "test.parquet", table, owner=name)
    known = {
        "data": {"dataset": "icons", "split": "train"},
        "encoders": {"vision": {"name": "lite0"}, "text": {"name": "minilm"}},
        "layers": {"vision": "block.13", "text": "block.05"},
        "options": {"method": method, "seed": 42, **({"regulariser": "none"} if method == "linear" else {})},
        "pairs": pairs,
        "run": name,
        "test_pairs": N,
        "test_metrics": {f"{side}_retrieval_recall@{k}": hits / N for k in (1, 10) for side in ("image", "text")},
    }
    record(store, name, {**known, **facts})


def record(store: Store, name: str, facts: dict[str, Any]) -> None:
    store.folder("aligners", name).write("aligner.json", json.dumps({"metadata": facts}).encode())


def told(store: Store, **source: Any) -> Verdict:
    (found,) = verdict.section(Source(store, [], **source)).blocks
    assert isinstance(found, Verdict)
    return found


def words(found: Verdict, topic: str) -> str:
    return " ".join(finding.words for finding in found.findings if finding.topic == topic)


def figures(found: Verdict) -> dict[str, tuple[str, str]]:
    return {figure.label: (figure.value, figure.detail) for figure in found.figures}


def commands(found: Verdict) -> list[str]:
    return [command for finding in found.findings for command in finding.commands]


def test_a_clear_lead_is_called_the_best_with_its_margins(store: Store) -> None:
    trained(store, "kernel", 90, method="kernel-csa")
    trained(store, "ridge", 60, method="ridge")
    trained(store, "plain", 50)
    found = told(store)
    assert found.headline.startswith("kernel (kernel-csa) is the best of 3 on icons/train: T→I R@10 0.750 [0.")
    assert "chance 0.083" in found.headline
    shown = figures(found)
    assert shown["over ridge"][0] == "+0.250"
    assert shown["over linear"][0] == "+0.333"
    assert shown["test samples"][0] == "120"
    assert "significantly above 2 of 2 other aligners" in words(found, "Comparison")
    assert "2 of 2 intervals exclude zero. Each is a 95 % interval by itself" in words(found, "Comparison")
    assert words(found, "Caution").startswith("One fit")


def test_a_lead_that_the_data_do_not_confirm_is_not_called_the_best(store: Store) -> None:
    trained(store, "kernel", 62, method="kernel-csa")
    trained(store, "ridge", 60, method="ridge")
    found = told(store)
    assert found.headline.startswith("kernel (kernel-csa) leads on icons/train")
    assert "Its lead over ridge is not statistically significant." in found.headline
    assert figures(found)["over ridge"][1].endswith("not statistically significant")
    assert "the difference to ridge is not statistically significant" in words(found, "Comparison")
    assert figures(found)["over linear"] == ("-", "not evaluated on this test")


def test_equal_values_have_no_single_best(store: Store) -> None:
    trained(store, "a", 60)
    trained(store, "b", 60, method="ridge")
    trained(store, "c", 59, method="csa")
    said = told(store).headline
    assert said.startswith("a (linear) and b have the same highest value on icons/train: T→I R@10 0.500 [")
    assert said.endswith("The lead over c is not statistically significant.")


def test_a_recall_that_the_best_has_for_every_query_tells_nothing_apart(store: Store) -> None:
    metrics = {f"{side}_retrieval_recall@{k}": k / 10 for k in (1, 5, 10) for side in ("image", "text")}
    trained(store, "a", 60, test_metrics=metrics)
    source = Source(store, [])
    (board,) = headline_boards(source.leaderboards)
    assert board.metric == "image_retrieval_recall@5"
    assert [each.metric.rpartition("@")[2] for each in source.leaderboards] == ["1", "1", "5", "5", "10", "10"]


def test_one_aligner_is_compared_with_nothing_and_chance_is_no_success(store: Store) -> None:
    trained(store, "only", 10)
    found = told(store)
    assert found.headline.startswith("only (linear) reaches T→I R@10 0.083")
    assert "It is not significantly above chance." in found.headline
    assert "nothing is compared" in words(found, "Comparison")
    assert words(found, "Caution").startswith("One training seed")
    assert figures(found)["over linear"] == ("-", "the best is linear")


def test_seeds_are_one_variant_paired_over_them(store: Store) -> None:
    for seed, shift in ((1, 0), (2, 3), (3, -2)):
        trained(store, f"a-seed{seed}", 90 + shift, method="ridge")
        trained(store, f"b-seed{seed}", 60 + shift)
    found = told(store)
    assert found.headline.startswith("a (ridge) is the best of 2")
    assert "seed" not in words(found, "Caution")
    (board, *_) = headline_boards(Source(store, []).leaderboards)
    margin = board.margins["b"]
    assert margin is not None
    assert (margin.seeds, margin.is_significant) == (3, True)
    assert margin.value == pytest.approx(30 / N)


def test_missing_baselines_come_with_commands_that_exist(store: Store) -> None:
    trained(store, "kernel", 90, method="kernel-csa", validation_pairs=0)
    found = told(store)
    first, second = commands(found)
    for command, method in ((first, "ridge"), (second, "linear")):
        assert f"--method {method} " in command
        assert "--layers block.13,block.05" in command
        assert f"--test {N / (2 * N)}" in command
        assert parsed(command)["store"] == shown_path(store.url) == "store"
    assert parsed(second)["regulariser"] == "none"
    assert parsed(first)["regulariser"] is None  # ridge has no such option


def test_when_nothing_is_missing_the_best_is_used_or_trained_with_more_seeds(store: Store) -> None:
    trained(store, "plain", 60)
    trained(store, "ridge", 90, method="ridge")
    (command,) = commands(told(store))
    assert shlex.split(command)[:3] == ["structure", "search", "caption 0"]
    assert parsed(command)["aligner"] == "ridge"
    trained(
        store,
        "plain",
        110,
        options={"method": "linear", "regulariser": "none", "epochs": 7, "patience": 60, "seed": 42},
    )
    (command,) = commands(told(store))
    assert parsed(command)["setting"] == ["regulariser=none", "epochs=7"]
    assert parsed(command)["seeds"] == "1,2,3,4,5"


def parsed(command: str) -> dict[str, Any]:
    """The parameters of a command as the command line reads them. Fails for an option that is not there."""
    program, name, *arguments = shlex.split(command)
    assert program == "structure"
    group: Any = typer.main.get_command(app)
    return dict(group.commands[name].make_context(name, list(arguments)).params)


def test_test_pairs_that_repeat_training_pairs_are_counted(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    samples = [SampleItem(f"{n}", (f"caption {n % (2 * N - 7)}",), digest=f"d{n}") for n in range(2 * N)]
    store.put_samples(Samples.build("icons", "train", samples))
    trained(store, "a", 60)
    found = told(store)
    assert "7 of 120 test pairs repeat the image or the text" in words(found, "Caution")


def test_few_samples_and_stale_parts_are_said(store: Store) -> None:
    trained(store, "a", 60)
    trained(store, "b", 30)
    rows = [{"what": "aligner a", "why": "icons has grown", "command": "structure align --name a --replace"}]
    found = told(store, stale=rows)
    assert "Stale: aligner a (icons has grown)." in words(found, "Caution")
    assert commands(found) == ["structure align --name a --replace --store store"]
    few = [replaced(result, n=30) for result in Source(store, []).held_out]
    source = Source(store, [])
    source.__dict__["held_out"] = few
    (found,) = verdict.section(source).blocks  # type: ignore[assignment]
    assert "Only 30 test samples" in words(found, "Caution")


def replaced(result: Result, **changes: Any) -> Result:
    return Result(**{**vars(result), **changes})


def test_a_test_that_an_aligner_was_trained_on_is_the_last_choice_and_said(store: Store) -> None:
    """Numbers on seen samples are high: the verdict is by the clean test, whatever the other one has."""
    for name in ("a", "b", "c"):
        record(store, name, {"run": name, "data": {"dataset": "icons", "split": "train"}})
    rows = {"a": 0.5, "b": 0.4, "c": 0.9}
    for name, value in rows.items():
        kept = [evaluated(name, "seen", value, met=12)]
        kept += [evaluated(name, "clean", value, met=0)] if name != "c" else []
        folder = store.folder("results", name)
        keep_results(folder, kept)
        folder.write(FILE, packed(read_table(folder, FILE).replace_schema_metadata(None)))  # of an earlier version
    found = told(store)
    assert found.headline.startswith("a leads on clean/test")  # without predictions nothing is compared
    assert "Not compared" in words(found, "Comparison")
    assert words(found, "Leaks").startswith("None")
    store.folder("results", "a").remove_tree("")
    store.folder("results", "b").remove_tree("")
    found = told(store)
    assert found.headline.startswith("c reaches T→I R@10 0.900")
    assert "trained on up to 12 of its samples" in words(found, "Caution")


def evaluated(aligner: str, dataset: str, value: float, *, met: int) -> Result:
    provenance = {"aligner_run": aligner, "split": "test", "items_trained_on": met, "unreadable": 3}
    metric = "image_retrieval_recall@10"
    return Result(
        aligner, "s@1", dataset, "zeroshot_retrieval", metric, value, value - 0.1, value + 0.1, 200, 0.05, provenance
    )


def test_a_linear_head_under_r_s_is_no_plain_baseline_and_other_test_pairs_are_another_test(store: Store) -> None:
    trained(store, "kernel", 90, method="kernel-csa")
    trained(store, "with", 40, options={"method": "linear", "regulariser": "structure", "weight": 10.0})
    trained(store, "ridge", 80, method="ridge", test_pairs=N - 1)
    found = told(store)
    assert found.headline.startswith("kernel (kernel-csa) is the best of 2")
    assert figures(found)["over linear"] == figures(found)["over ridge"] == ("-", "not evaluated on this test")


def test_excluded_samples_are_counted(store: Store) -> None:
    record(store, "a", {"run": "a"})
    keep_results(store.folder("results", "a"), [evaluated("a", "d", 0.5, met=0)])
    assert words(told(store), "Excluded") == "d: 3 unreadable."


def test_what_r_s_did_is_diagnosed_and_measured(store: Store) -> None:
    diagnosed = {
        "js": 0.5,
        "vision_diagonal": 0.7,
        "text_diagonal": 0.1,
        "bound": 2.7,
        "rows": 256,
        "text_within": None,
    }
    options = {"method": "linear", "seed": 42, "weight": 10.0}
    trained(
        store,
        "with",
        80,
        options={**options, "regulariser": "structure"},
        structure_diagnosis={**diagnosed, "verdict": "in conflict"},
    )
    trained(store, "without", 40, options={**options, "regulariser": "none"})
    trained(store, "halved", 30, options={**options, "regulariser": "structure", "weight": 5.0})
    found = told(store)
    said = words(found, "R_S")
    assert "On these pairs R_S is in conflict" in said
    assert "with minus without, which is the same without R_S: T→I R@10 +0.333 [" in said


def test_why_a_method_was_selected_and_what_baselines_scored_in_the_folds(store: Store) -> None:
    row = {"layers": {"vision": "a", "text": "b"}, "se": 0.01, "pairs": 9, "seconds": 1.0, "note": "", "chosen": False}
    candidates = [
        {**row, "method": "kernel-csa", "options": {}, "score": 0.6, "chosen": True},
        {**row, "method": "ridge", "options": {"ridge": 0.1}, "score": 0.3},
        {**row, "method": "ridge", "options": {"ridge": 1.0}, "score": 0.4},
        {**row, "method": "linear", "options": {"regulariser": "structure"}, "score": 0.5},
    ]
    estimate = {"score": 0.58, "se": 0.02, "pairs": 9, "how": "nested"}
    selection = {
        "why": "kernel-csa was chosen.",
        "criterion": "mrr",
        "folds": 3,
        "estimate": estimate,
        "candidates": candidates,
    }
    trained(store, "auto", 90, method="kernel-csa", selection=selection)
    assert words(told(store), "Selection") == "kernel-csa was chosen. In the same folds: ridge 0.400 ±0.010."
    store.folder("aligners", "auto").remove("test.parquet")
    found = told(store)
    assert found.headline.startswith("auto was trained, and none was tested")
    assert figures(found)["expected mrr"][0] == "0.580"
    assert "--test 0.2" in commands(found)[0]
    assert parsed(commands(found)[0])["method"] is None  # selected again


def test_an_empty_store_says_how_to_begin(tmp_path: Path) -> None:
    found = told(open_store(tmp_path / "nothing"))
    assert "empty" in found.headline
    assert commands(found)[0].startswith("structure extract --model")


def test_the_pivot_marks_the_best_and_what_is_level_with_it(store: Store) -> None:
    trained(store, "first", 90)
    trained(store, "level", 88)
    trained(store, "last", 40)
    table, note = pivot.section(Source(store, [])).blocks
    assert isinstance(table, Pivot)
    assert isinstance(note, Text)
    marks = {row.name: [(cell.is_best, cell.is_level) for cell in row.cells if cell] for row in table.rows}
    assert marks == {"first": [(True, False)] * 4, "level": [(False, True)] * 4, "last": [(False, False)] * 4}
    assert [column.chance for column in table.columns] == [pytest.approx(k / N) for k in (1, 1, 10, 10)]
    assert table.table().rows[-1]["aligner"] == "chance"
    assert "intervals exclude zero" in note.words
    page = render("t", "s", [pivot.section(Source(store, []))])
    assert page.count("<strong>0.750</strong>") == 4
    assert page.count('class="n level"') == 4
    assert "not statistically significant" in page
    assert page.count("95 % interval [") >= 12
    assert "<tfoot>" in page


def test_the_title_is_of_the_data_and_the_encoders(store: Store) -> None:
    assert title(Source(store, [])) == "store"
    trained(store, "a", 60)
    assert title(Source(store, [])) == "icons: lite0 and minilm"
    for number in range(3):
        trained(store, f"b{number}", 60, data={"dataset": f"more{number}", "split": "train"})
    assert title(Source(store, [])) == "icons, more0 and 2 more: lite0 and minilm"


def test_names_that_attack_stay_text_in_verdict_and_pivot(store: Store) -> None:
    attack = "<img src=x onerror=alert(1)>"
    facts = {"layers": {"vision": attack, "text": "'\"&"}, "data": {"dataset": "icons", "split": "train"}}
    trained(store, "a", 60, **facts)
    source = Source(store, [])
    page = render(attack, attack, [verdict.section(source), pivot.section(source)])
    assert "<img" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page


def test_held_out_pairs_are_a_test_like_any_other(store: Store) -> None:
    trained(store, "a", 60)
    results = Source(store, []).held_out
    assert {result.metric for result in results} == {
        f"{s}_retrieval_recall@{k}" for s in ("image", "text") for k in (1, 10)
    }
    assert all(result.task == HELD_OUT and result.low < result.value < result.high for result in results)
