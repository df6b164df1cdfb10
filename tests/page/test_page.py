"""What is on the page, that data stay data on it, the files beside it, and what a real browser makes of it."""

from __future__ import annotations

import base64
import csv
import hashlib
import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import altair
import jsonschema
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from structure.pipeline import report
from structure.pipeline.page import glossary as words
from structure.pipeline.page import layers, results
from structure.pipeline.page.blocks import Chart, Section, Table
from structure.pipeline.page.files import write_files
from structure.pipeline.page.source import Source
from structure.store import Store, open_store

from .conftest import ATTACK, CLASSES, COUNT

SECTIONS = ["verdict", "pivot", "setup", "means", "differences", "efficiency", "layers", "models", "correlations"]
SECTIONS += ["selection", "training", "results", "examples", "confusion", "costs", "words"]

PARTS = Path(__file__).resolve().parents[2] / "pipeline" / "page"
SVG = {
    "svg",
    "g",
    "path",
    "text",
    "defs",
    "linearGradient",
    "stop",
    "clipPath",
    "rect",
    "line",
    "style",
    "title",
    "tspan",
}

OF_PAGE = """
const found = [];
for (const element of document.querySelectorAll('*')) {
  const names = element.getAttributeNames();
  found.push([element.localName, names.filter(name => name.startsWith('on')),
    names.map(name => element.getAttribute(name)).filter(value => /^\\s*(javascript|vbscript):/i.test(value))]);
}
return found;
"""

HOVER = """
const marks = [...document.querySelectorAll('.chart svg [class*=mark-] path, .chart svg [class*=mark-] text')];
const told = new Set();
for (const mark of marks) {
  const box = mark.getBoundingClientRect();
  const at = {bubbles: true, view: window, clientX: box.x + box.width / 2, clientY: box.y + box.height / 2};
  for (const kind of ['pointerover', 'mouseover', 'pointermove', 'mousemove'])
    mark.dispatchEvent(new MouseEvent(kind, at));
  const tooltip = document.getElementById('vg-tooltip-element');
  if (tooltip) told.add(tooltip.innerHTML);
}
return [marks.length, [...told]];
"""


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
    (chart,) = [chart for chart in charts if chart["description"].startswith("Heatmap of mutual kNN@")]
    rows = next(rows for rows in chart["datasets"].values() if len(rows) > 1)
    scores = {(row["vision"], row["text"]): row["score"] for row in rows}
    for i, vision in enumerate(ranking["vision"]["layers"]):
        for j, text in enumerate(ranking["text"]["layers"]):
            assert scores[vision, text] == pytest.approx(ranking["scores"][i][j])
    best = ranking["best"]
    assert [{"vision": best["vision_layer"], "text": best["text_layer"]}] in chart["datasets"].values()


def test_every_chart_is_valid_vega_lite(elements: Elements) -> None:
    charts = [json.loads(text) for attributes, text in elements.scripts if "type" in attributes]
    for chart in charts:
        altair.Chart.from_dict(chart)  # raises where the schema does not know it
    with pytest.raises(jsonschema.ValidationError):
        altair.Chart.from_dict({**charts[0], "layer": [{"mark": "nonsense"}]})


def test_examples_are_right_where_they_say_so(store: Store) -> None:
    found = Source.of(store, None).saved("examples")
    assert {result.aligner for result, _ in found} == {"auto", "last"}
    for _, table in found:
        for row in table.to_pylist():
            right = [answer for answer in row["answers"] if answer["right"]]
            assert [answer["item"] for answer in right] == [row["item"]]
            assert right[0]["place"] == row["rank"]
            assert {answer["file"] for answer in [row, *row["answers"]]} <= {f"{n}.png" for n in range(COUNT)}
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


def test_names_that_the_page_has_are_explained_and_no_others(store: Store) -> None:
    (table,) = words.section(Source.of(store, None)).blocks
    assert isinstance(table, Table)
    names = {row["metric"] for row in table.rows}
    assert {"acc1", "image_retrieval_recall@k", "mutual_knn", "contrastive", "chance"} <= names
    assert not {"miou", "lp_acc1"} & names


def test_it_draws_everything_without_a_word_on_the_console_and_asks_nobody(opened: Any) -> None:
    assert [entry for entry in opened.get_log("browser") if entry["level"] != "INFO"] == []
    assert [found.get_attribute("id") for found in opened.find_elements(By.TAG_NAME, "h2")] == SECTIONS
    charts = opened.find_elements(By.CSS_SELECTOR, ".chart svg")
    assert len(charts) >= 12
    assert all(chart.size["height"] > 40 for chart in charts)
    events = [json.loads(entry["message"])["message"] for entry in opened.get_log("performance")]
    sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    asked = {each["request"]["url"].partition(":")[0] for each in sent if each["documentURL"] == opened.current_url}
    assert asked == {"file", "data"}
    assert opened.execute_script("return window.hacked") is None
    assert opened.execute_script("return document.images.length") == opened.execute_script(
        "return [...document.images].filter(image => image.naturalWidth > 0).length"
    )


def test_no_element_attribute_or_address_comes_from_data(opened: Any) -> None:
    """Every kind of element is one that the templates or Vega write; nothing has a handler of its own."""
    written = {"button", "form"} | {  # of the page's script and of Vega's
        name
        for path in PARTS.rglob("*")
        if path.suffix in (".html", ".j2", ".py")
        for name in re.findall(r"<([a-z][a-z0-9]*)", path.read_text())
    }
    found = opened.execute_script(OF_PAGE)
    assert {name for name, *_ in found} <= written | SVG
    assert not {"b", "i"} & {name for name, *_ in found}
    assert [each for each in found if each[1] or each[2]] == []
    assert opened.execute_script("return document.querySelectorAll('script:not([type])').length") == 2


def test_hostile_text_is_shown_as_it_is(opened: Any) -> None:
    text = opened.execute_script("return document.body.textContent")
    for attack in (ATTACK, "<i>0", *CLASSES):
        assert attack in text


def test_the_first_tab_leads_past_the_navigation(opened: Any) -> None:
    ActionChains(opened).send_keys(Keys.TAB).perform()
    assert opened.switch_to.active_element.text == "Skip to the content"


def test_a_table_is_sorted_and_searched_by_keyboard(opened: Any) -> None:
    table = opened.find_element(By.CSS_SELECTOR, "section[aria-labelledby=results] table")
    heading = next(h for h in table.find_elements(By.CSS_SELECTOR, "thead th") if h.text.startswith("value"))
    place = opened.execute_script("return [...arguments[0].parentNode.children].indexOf(arguments[0])", heading)

    def values() -> list[float]:
        script = "return [...arguments[0].tBodies[0].rows].map(row => Number(row.children[arguments[1]].dataset.v))"
        return list(opened.execute_script(script, table, place))

    button = heading.find_element(By.TAG_NAME, "button")
    opened.execute_script("arguments[0].focus()", button)
    ActionChains(opened).send_keys(Keys.ENTER).perform()
    assert heading.get_attribute("aria-sort") == "descending"
    assert values() == sorted(values(), reverse=True)
    ActionChains(opened).send_keys(Keys.SPACE).perform()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert values() == sorted(values())
    assert (
        opened.execute_script("return document.getElementById('announcement').textContent")
        == "Sorted by value, ascending."
    )
    field = opened.find_element(By.CSS_SELECTOR, "section[aria-labelledby=results] input[type=search]")
    field.send_keys("last mean_per")
    rows = table.find_elements(By.CSS_SELECTOR, "tbody tr:not([hidden])")
    assert rows
    assert all("last" in row.text and "mean per-class recall" in row.text for row in rows)


def test_hovering_tells_layers_and_score(opened: Any) -> None:
    cell = opened.find_element(By.CSS_SELECTOR, "section[aria-labelledby=layers] .chart svg .mark-rect path")
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", cell)

    def told(_: Any) -> str:  # scrolling is smooth, and a busy machine is late
        ActionChains(opened).move_by_offset(1, 0).move_to_element(cell).perform()
        return " ".join(found.text for found in opened.find_elements(By.ID, "vg-tooltip-element"))

    shown = WebDriverWait(opened, 20).until(told)
    assert "layer of scenes-vit" in shown
    assert "mutual kNN@" in shown


def test_it_is_light_and_dark_and_fits_a_narrow_window(opened: Any) -> None:
    papers = []
    for scheme in ("light", "dark"):
        feature = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
        papers.append(opened.execute_script("return getComputedStyle(document.body).backgroundColor"))
    assert papers[0] != papers[1]
    narrow = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", narrow)
    width, seen = opened.execute_script(
        "const page = document.documentElement; return [page.scrollWidth, page.clientWidth]"
    )
    assert width == seen <= 390
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_in_print_headings_are_no_buttons_and_nothing_is_cut(opened: Any) -> None:
    """Chromium paints the box of a button once: a heading made of one would not repeat on the next page."""
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    shown = "return [...document.querySelectorAll(arguments[0])].map(e => getComputedStyle(e)[arguments[1]])"
    assert set(opened.execute_script(shown, "th button", "display")) == {"contents"}
    assert set(opened.execute_script(shown, "thead", "display")) == {"table-header-group"}
    assert set(opened.execute_script(shown, ".scroll", "overflow")) == {"visible"}
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_screen_readers_are_told_each_chart_once_and_each_table_by_its_caption(opened: Any) -> None:
    """As the browser's own accessibility tree has it."""
    nodes = opened.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    told = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]
    drawn = [name for role, name in told if role == "graphics-document"]
    assert len(drawn) == len(opened.find_elements(By.CSS_SELECTOR, ".chart"))
    assert all(len(name) > 40 and sum(name in other for _, other in told) == 1 for name in drawn)
    assert all(name for role, name in told if role in ("table", "region", "button", "link", "searchbox", "image"))
    assert not [name for role, name in told if role == "columnheader" and "↕" in name]


def test_a_script_that_got_in_would_not_run(opened: Any) -> None:
    """The policy, not only the escaping, stands between data and a script."""
    opened.execute_script("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.hacked = 1\">')")
    opened.execute_script(
        "const s = document.createElement('script'); s.text = 'window.hacked = 1'; document.body.append(s)"
    )
    opened.execute_async_script("setTimeout(arguments[0], 50)")
    assert opened.execute_script("return window.hacked") is None
    assert any("Content Security Policy" in entry["message"] for entry in opened.get_log("browser"))


def test_what_a_chart_says_when_hovered_is_text(opened: Any) -> None:
    marks, told = opened.execute_script(HOVER)
    assert marks > 100
    assert any("&lt;/script&gt;" in each for each in told), told[:5]
    kinds = {name for each in told for name in re.findall(r"<([a-zA-Z]+)", each)}
    assert kinds <= {"h2", "table", "tbody", "tr", "td"}
    assert opened.execute_script("return window.hacked") is None
