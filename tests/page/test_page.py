"""What is on the page, that data stay data on it, and the files beside it."""

from __future__ import annotations

import base64
import csv
import hashlib
import itertools
import json
import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from structure.pipeline import report
from structure.pipeline.page import charts, layers, looking, means, results, words
from structure.pipeline.page.blocks import Chart, Picture, Section, Table, Text
from structure.pipeline.page.files import write_files
from structure.pipeline.page.source import Source
from structure.pipeline.suites.suite import METRICS
from structure.store import Store, StructureError, open_store

from .conftest import ATTACK, CLASSES


class Elements(HTMLParser):
    """Every element with its attributes, the text of scripts, and what stands outside them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.words = ""
        self._inside: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._inside.append(tag)
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._inside[-1:] == ["script"]:
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        else:
            self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def elements(page: Path) -> Elements:
    return Elements(page.read_text())


def test_data_stay_data(elements: Elements) -> None:
    """Captions, classes and names that attack are there as text; no element and no attribute comes of them."""
    assert ATTACK in elements.words
    assert CLASSES[1] in elements.words
    assert not [attributes for _, attributes in elements.found if any(name.startswith("on") for name in attributes)]
    assert not [image for image in elements.all("img") if not str(image["src"]).startswith("data:image/")]
    charts = [text for attributes, text in elements.scripts if attributes.get("type") == "application/json"]
    assert all("<" not in text for text in charts)
    assert any(ATTACK in json.dumps(json.loads(text)) for text in charts)


def test_the_policy_names_the_two_scripts_that_run(elements: Elements) -> None:
    (policy,) = [meta["content"] for meta in elements.all("meta") if "http-equiv" in meta]
    running = [text for attributes, text in elements.scripts if "type" not in attributes]
    assert len(running) == 2
    for text in running:
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in str(policy)
    assert "default-src 'none'" in str(policy)
    assert "unsafe-eval" not in str(policy)
    assert not [a for _, a in elements.found if str(a.get("src") or a.get("href") or "").startswith(("http", "//"))]


def test_it_can_be_read_aloud(elements: Elements) -> None:
    """One h1, headings that skip no level, captions and scopes, alternative texts, named regions."""
    levels = [int(tag[1]) for tag, _ in elements.found if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels))
    assert len(elements.all("caption")) == len(elements.all("table"))
    assert all(heading.get("scope") in ("col", "row") for heading in elements.all("th"))
    assert all(image.get("alt") for image in elements.all("img"))
    regions = [div for div in elements.all("div") if div.get("role") == "region"]
    assert all(div["aria-label"] and div["tabindex"] == "0" for div in regions)
    charts = [json.loads(text) for attributes, text in elements.scripts if "type" in attributes]
    assert all(len(chart["description"]) > 40 for chart in charts)
    assert elements.all("html")[0]["lang"] == "en"
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_it_is_light_enough_to_send(page: Path) -> None:
    assert page.stat().st_size < 3 * 2**20


def test_the_heatmap_has_every_score_and_frames_the_choice(store: Store, elements: Elements) -> None:
    (name,) = store.folder("rankings").holding("ranking.json")
    ranking = json.loads(store.folder("rankings").read(f"{name}/ranking.json"))
    charts = [json.loads(text) for attributes, text in elements.scripts if "type" in attributes]
    (chart,) = [chart for chart in charts if chart["description"].startswith("Heatmap of mutual_knn")]
    rows = next(rows for rows in chart["datasets"].values() if len(rows) > 1)
    scores = {(row["vision"], row["text"]): row["score"] for row in rows}
    for i, vision in enumerate(ranking["vision"]["layers"]):
        for j, text in enumerate(ranking["text"]["layers"]):
            assert scores[vision, text] == pytest.approx(ranking["scores"][i][j])
    best = ranking["best"]
    assert [{"vision": best["vision_layer"], "text": best["text_layer"]}] in chart["datasets"].values()


def test_examples_are_right_where_they_say_so(store: Store) -> None:
    found = Source.of(store, None).kept("examples")
    assert {result.aligner for result, _ in found} == {"auto", "last"}
    for _, table in found:
        for row in table.to_pylist():
            right = [answer for answer in row["answers"] if answer["right"]]
            assert [answer["item"] for answer in right] == [row["item"]]
            assert right[0]["place"] == row["rank"]
            cosines = [answer["cosine"] for answer in row["answers"]]
            assert cosines == sorted(cosines, reverse=True)
            pictures = [row["picture"], *(answer["picture"] for answer in row["answers"])]
            assert [p is not None for p in pictures] == [
                row["of"] == "text",
                *[row["of"] == "image"] * (len(pictures) - 1),
            ]


def test_what_was_not_done_says_what_to_type(tmp_path: Path) -> None:
    page = Elements(Path(report(store=open_store(tmp_path / "empty"), out=tmp_path / "r.html")).read_text())
    for command in ("structure extract", "structure rank-layers", "structure align", "structure eval --suite scenes"):
        assert command in page.words
    assert len(page.scripts) == 1  # nothing is drawn, so Vega stays out


def test_charts_and_tables_as_files(store: Store, tmp_path: Path) -> None:
    source = Source.of(store, None)
    blocks = layers.section(source).blocks
    (heatmap,) = [block for block in blocks if isinstance(block, Chart) and block.wide]
    count = write_files([Section("layers", "", [heatmap]), results.section(source)], tmp_path)
    assert count == 2
    (picture,) = tmp_path.glob("layers-*.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    (results_file,) = tmp_path.glob("results-*.csv")
    with results_file.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["aligner"] for row in rows} == {"auto", "last"}
    assert all(0 <= float(row["low"]) <= float(row["value"]) for row in rows)


def test_a_record_that_does_not_read_is_named(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.folder("sweeps", "mine").write("sweep.json", b"{")
    with pytest.raises(StructureError, match=r"mine/sweep\.json does not read"):
        report(store=store)


@pytest.mark.parametrize(
    ("value", "metric", "shown"),
    [
        (None, "acc1", "-"),
        (float("nan"), "acc1", "-"),
        (0.12345, "acc1", "0.123"),
        (12345, "acc1", "12,345"),
        (219.04, "seconds", "219.0"),
        (9.8, "text_retrieval_median_rank", "9.8"),
        (True, "acc1", "True"),
    ],
)
def test_cells(value: Any, metric: str, shown: str) -> None:
    table = Table("t", {"a": "a"}, [{"a": value, "metric": metric}])
    assert table.shown(table.rows[0], "a") == shown


def test_every_metric_of_a_suite_is_explained() -> None:
    assert {metric for metrics in METRICS.values() for metric in metrics} <= set(words.MEANINGS)


def test_names_that_the_page_has_are_explained_and_no_others(store: Store) -> None:
    (table,) = words.section(Source.of(store, None)).blocks
    assert isinstance(table, Table)
    names = {row["name"] for row in table.rows}
    assert {"acc1", "image_retrieval_recall@k", "mutual_knn", "contrastive", "chance"} <= names
    assert not {"miou", "lp_acc1"} & names


def test_a_null_far_below_what_was_found_keeps_bars_that_can_be_seen() -> None:
    """The shape of 200 permutations where there is room for it, else bars of a hundredth of the axis."""
    null = [0.01 + n / 1e5 for n in range(200)]
    assert layers._bins(null, 0.012) == 20
    assert layers._bins(null, 0.07) == 3
    assert layers._bins([0.5] * 200, 0.5) == 1


def test_many_intervals_are_not_taken_for_one() -> None:
    rows = [{"low": -1.0, "high": 1.0}] * 38 + [{"low": 0.1, "high": 1.0}, {"low": float("nan"), "high": float("nan")}]
    told = means._chance_finds(rows).words
    assert told.startswith("1 of 39 intervals leave zero out.")
    assert "about 2 would" in told


def test_texts_and_lines_stand_out_from_the_paper() -> None:
    """WCAG 2.2: 4.5 to one for texts (1.4.3), 3 to one for lines and dots (1.4.11), light and dark."""
    css = files("structure.pipeline.page").joinpath("page.css").read_text()
    for scheme in re.findall(r":root \{(.*?)\}", css, re.DOTALL)[:2]:
        colour = dict(re.findall(r"--(\w+): (#\w+);", scheme))
        for name in ("ink", "muted", "link", "right", "focus"):
            for paper in ("paper", "soft"):
                assert contrast(colour[name], colour[paper]) >= 4.5, (name, paper, scheme)
        for line in (*charts.SERIES, charts.CHOSEN, charts.GREY):
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
    row: dict[str, Any] = {"first": "a", "second": "b", "dataset": "d", "metric": "acc1", "value": 0.1, "seeds": 1}
    row |= {"low": float("nan"), "high": float("nan")}
    known = {**row, "metric": "acc5", "low": 0.05, "high": 0.15}
    for rows, clear, bars in (([row], 0, 0), ([row, known], 1, 1)):
        differences = means.differences(
            Source(open_store(tmp_path), [{"recipe": "r", "means": rows, "differences": rows}])
        )
        chart, table = (
            next(block for block in differences.blocks if isinstance(block, kind)) for kind in (Chart, Table)
        )
        assert f"{clear} intervals do not hold zero" in chart.alt
        assert [entry["zero"] for entry in table.rows] == [True, False][: len(rows)]
        assert json.dumps(chart.spec).count('"x2"') == bars


def test_variants_whose_segmentation_is_not_drawn_are_counted(tmp_path: Path) -> None:
    names = ["auto-seed1", "auto-seed2", "last-seed1", "csa-seed1"]
    found = [SimpleNamespace(aligner=name, metric="miou") for name in names]
    source: Any = SimpleNamespace(aligners=dict.fromkeys(names), results=found, store=open_store(tmp_path))
    assert not looking.segmentation(source).blocks
    source.store.folder("results", "auto-seed1").write("pictures/s@1/scenes_segmentation_overlays.png", b"\x89PNG")
    told, picture = looking.segmentation(source).blocks
    assert isinstance(told, Text)
    assert isinstance(picture, Picture)
    assert "2 other variants of the tables are not drawn" in told.words
    assert picture.caption == "scenes, auto-seed1 (suite s@1)"
