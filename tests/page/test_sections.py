"""What single sections say of what they are given: cells, intervals, names, colours."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from markupsafe import escape

from structure.pipeline import charts, report
from structure.pipeline.metrics.registry import METRICS
from structure.pipeline.page import examples as looking
from structure.pipeline.page import sweeps as means
from structure.pipeline.page.blocks import Chart, ImageBlock, Section, Table, Text
from structure.pipeline.page.files import write_files
from structure.pipeline.page.html import render
from structure.pipeline.page.metric_names import display_name
from structure.pipeline.page.source import Source
from structure.pipeline.similarity.charts import bins
from structure.store import StructureError, open_store


def test_a_record_that_does_not_read_is_named(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.folder("reports", "mine").write("summary.json", b"{")
    with pytest.raises(StructureError, match=r"mine/summary\.json does not read"):
        report(store=store)


@pytest.mark.parametrize(
    ("value", "metric", "shown"),
    [
        (None, "acc1", "-"),
        (float("nan"), "acc1", "-"),
        (0.12345, "acc1", "0.123"),
        (0.0, "acc1", "0.000"),
        (0.0005, "p", "0.001"),
        (-0.000123, "p", "-1.2e-04"),
        (12345, "acc1", "12,345"),
        (219.04, "seconds", "219.0"),
        (9.8, "text_retrieval_median_rank", "9.8"),
        (True, "acc1", "True"),
    ],
)
def test_cells(value: Any, metric: str, shown: str) -> None:
    table = Table("t", {"a": "a"}, [{"a": value, "metric": metric}])
    assert table.shown(table.rows[0], "a") == shown


def test_metrics_are_shown_by_the_names_of_the_field_and_kept_by_ours(tmp_path: Path) -> None:
    table = Table("t", {"metric": "metric", "image_retrieval_recall@5": "image_retrieval_recall@5"}, [])
    row = {"metric": "text_retrieval_recall@10"}
    assert (table.shown(row, "metric"), table.hint(row, "metric")) == ("I→T R@10", "text_retrieval_recall@10")
    assert table.heading("image_retrieval_recall@5") == "T→I R@5"
    assert (table.shown({"metric": "mine"}, "metric"), table.hint({"metric": "mine"}, "metric")) == ("mine", "")
    assert all(display_name(metric) != metric for metric in METRICS)
    write_files([Section("s", "", [replace(table, rows=[row])])], tmp_path)
    (file,) = tmp_path.glob("*.csv")
    assert file.read_text().splitlines() == ["metric,image_retrieval_recall@5", "text_retrieval_recall@10,"]


def test_a_null_far_below_what_was_found_keeps_bars_that_can_be_seen() -> None:
    """The shape of 200 permutations where there is room for it, else bars of a hundredth of the axis."""
    null = [0.01 + n / 1e5 for n in range(200)]
    assert bins(null, 0.012) == 20
    assert bins(null, 0.07) == 3
    assert bins([0.5] * 200, 0.5) == 1


def test_many_intervals_are_not_taken_for_one() -> None:
    rows = [{"low": -1.0, "high": 1.0}] * 38 + [{"low": 0.1, "high": 1.0}, {"low": float("nan"), "high": float("nan")}]
    told = means._by_chance(rows).words
    assert told.startswith("1 of 39 intervals exclude zero.")
    assert "about 2 would" in told


def test_texts_and_lines_stand_out_from_the_paper() -> None:
    """WCAG 2.2: 4.5 to one for texts (1.4.3), 3 to one for lines and dots (1.4.11), light and dark."""
    css = files("structure.pipeline.page").joinpath("page.css").read_text()
    for scheme in re.findall(r":root \{(.*?)\}", css, re.DOTALL)[:2]:
        colour = dict(re.findall(r"--(\w+): (#\w+);", scheme))
        for name in ("ink", "muted", "link", "right", "focus"):
            for paper in ("paper", "soft"):
                assert contrast(colour[name], colour[paper]) >= 4.5, (name, paper, scheme)
        for line in (*charts.SERIES, charts.HIGHLIGHT, charts.GREY):
            assert contrast(line, colour["paper"]) >= 3, (line, scheme)


def contrast(one: str, other: str) -> float:
    """The ratio of relative luminances, as WCAG 2.2 defines it."""

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_pairs_of_a_variant_become_the_x_axis() -> None:
    """A recipe or a sweep over numbers of pairs, whatever else its variants say."""
    row = {"dataset": "d", "metric": "m", "value": 0.5, "low": 0.4, "high": 0.6, "chance": None, "seeds": 2}
    variants = ["pairs=10 layers=auto", "layers=auto pairs=20", "pairs=20 layers=last"]
    summary = {"recipe": "r", "means": [{**row, "variant": variant} for variant in variants]}
    (chart,) = means.efficiency(Source(open_store("memory://curves"), [summary])).blocks
    assert isinstance(chart, Chart)
    assert [(row["line"], row["pairs"]) for row in chart.values.rows] == [
        ("layers=auto", 10),
        ("layers=auto", 20),
        ("layers=last", 20),
    ]


def test_a_single_seed_has_no_interval_and_tells_nothing_apart(tmp_path: Path) -> None:
    row: dict[str, Any] = {
        "first": "a",
        "second": "b",
        "dataset": "d",
        "metric": "acc1",
        "value": 0.1,
        "seeds": 1,
        "of_test": True,
    }
    row |= {"low": float("nan"), "high": float("nan")}
    known = {**row, "metric": "acc5", "low": 0.05, "high": 0.15}
    for rows, clear, bars in (([row], 0, 0), ([row, known], 1, 1)):
        differences = means.differences(
            Source(open_store(tmp_path), [{"recipe": "r", "means": rows, "differences": rows}])
        )
        chart, table = (
            next(block for block in differences.blocks if isinstance(block, kind)) for kind in (Chart, Table)
        )
        assert f"{clear} intervals exclude zero" in chart.alt
        assert [entry["zero"] for entry in table.rows] == [True, False][: len(rows)]
        assert json.dumps(chart.spec).count('"x2"') == bars


@pytest.mark.parametrize(
    ("item", "file", "shown"),
    [
        ("17", "cat.png", "17 (cat.png)"),
        ("pets/cat", "cat.png", "pets/cat"),
        ("17", "", "17"),
        ("17", None, "17"),
        ("<b>", "<i>.png", "<b> (<i>.png)"),
    ],
)
def test_an_image_has_its_id_and_its_file_as_caption_and_alternative_text(item: str, file: Any, shown: str) -> None:
    sample = {"item": item, "file": file, "picture": b"jpeg"}
    answer = {**sample, "text": None, "place": 0, "cosine": 0.5, "right": True}
    row = {**sample, "text": None, "picture": b"jpeg", "rank": 0, "of": "image", "answers": [answer]}
    result = SimpleNamespace(dataset="d", task="t", aligner="a")
    source: Any = SimpleNamespace(saved=lambda kind: [(result, pa.Table.from_pylist([row]))])
    page = render("t", "s", [looking.retrieval(source)])
    name = str(escape(shown))
    assert f'alt="image {name}"' in page
    assert f'alt="query image {name}"' in page
    assert f"<span>1. {name}</span>" in page


def test_variants_whose_segmentation_is_not_drawn_are_counted(tmp_path: Path) -> None:
    names = ["auto-seed1", "auto-seed2", "last-seed1", "csa-seed1"]
    found = [SimpleNamespace(aligner=name, task="segmentation") for name in names]
    drawn: dict[str, list[Any]] = {}
    source: Any = SimpleNamespace(
        aligners=dict.fromkeys(names), results=found, pictures=lambda name: drawn.get(name, [])
    )
    assert not looking.segmentation(source).blocks
    drawn["auto-seed1"] = [("pictures/s@1/scenes_segmentation_overlays.png", lambda: b"\x89PNG")]
    told, picture = looking.segmentation(source).blocks
    assert isinstance(told, Text)
    assert isinstance(picture, ImageBlock)
    assert "2 other variants of the tables are not drawn" in told.words
    assert picture.caption == "scenes, auto-seed1 (suite s@1)"


def test_variants_that_were_not_trained_by_themselves_are_told(tmp_path: Path) -> None:
    mean = {"variant": "layers=last", "dataset": "test", "task": "t", "metric": "acc1", "value": 0.5}
    run = {
        "recipe": "mine",
        "means": [{**mean, "low": 0.4, "high": 0.6, "chance": None, "seeds": 2}],
        "identical": {"layers=block.03": "layers=last"},
        "failed": [{"variant": "pairs=9999", "seed": "1", "why": "there are 60 pairs"}],
    }
    blocks = means.section(Source(open_store(tmp_path), [run])).blocks
    assert [b.words for b in blocks if isinstance(b, Text)] == [
        "layers=block.03 is identical to layers=last: it was trained once."
    ]
    assert [b.caption for b in blocks if isinstance(b, Table)][-1] == "mine: variants that could not be trained"
    assert blocks[-1].rows == run["failed"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("metric", "fraction"),
    [("acc1", True), ("image_retrieval_recall@5", True), ("text_retrieval_median_rank", False), ("contrastive", False)],
)
def test_fractions_alone_share_an_axis(metric: str, fraction: bool, tmp_path: Path) -> None:
    row = {"first": "a", "second": "b", "dataset": "d", "metric": metric, "value": 0.1, "low": 0.0, "high": 0.2}
    run = {"recipe": "mine", "means": [{}], "differences": [{**row, "seeds": 2}]}
    blocks = means.differences(Source(open_store(tmp_path), [run])).blocks
    assert any(isinstance(block, Chart) for block in blocks) == fraction


def test_numbers_of_aligners_that_were_trained_anew_are_left_out(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    mean = {"variant": "v", "dataset": "d", "task": "t", "metric": "acc1", "value": 0.5, "low": 0.4, "high": 0.6}
    for recipe, run in (("old", "a"), ("present", "b"), ("removed", "a")):
        aligner = "x" if recipe != "removed" else "gone"
        body = {"recipe": recipe, "means": [{**mean, "chance": 0.1, "seeds": 2}], "runs": {aligner: run}}
        store.folder("reports", recipe).write("summary.json", json.dumps(body).encode())
    store.folder("aligners", "x").write("aligner.json", json.dumps({"metadata": {"run": "b"}}).encode())
    source = Source.of(store, None)
    assert [summary["recipe"] for summary in source.summaries] == ["present", "removed"]
    words = [block.words for block in means.section(source).blocks if isinstance(block, Text)]
    assert any(told.startswith("old is left out: aligners of its names were trained anew") for told in words)
