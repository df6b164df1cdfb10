"""The page in a real browser: it draws, sorts by keyboard, shows values, runs nothing foreign and asks nobody."""

from __future__ import annotations

import json
from typing import Any

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

SECTIONS = ["setup", "means", "differences", "efficiency", "layers", "models", "correlations", "training", "results"]
SECTIONS += ["examples", "confusion", "costs", "words"]


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
    assert opened.execute_script("return document.getElementById('told').textContent") == "Sorted by value, ascending."
    field = opened.find_element(By.CSS_SELECTOR, "section[aria-labelledby=results] input[type=search]")
    field.send_keys("last mean_per")
    rows = table.find_elements(By.CSS_SELECTOR, "tbody tr:not([hidden])")
    assert rows
    assert all("last" in row.text and "mean_per_class_recall" in row.text for row in rows)


def test_hovering_tells_layers_and_score(opened: Any) -> None:
    cell = opened.find_element(By.CSS_SELECTOR, "section[aria-labelledby=layers] .chart svg .mark-rect path")
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", cell)

    def told(_: Any) -> str:  # scrolling is smooth, and a busy machine is late
        ActionChains(opened).move_by_offset(1, 0).move_to_element(cell).perform()
        return " ".join(found.text for found in opened.find_elements(By.ID, "vg-tooltip-element"))

    shown = WebDriverWait(opened, 20).until(told)
    assert "layer of scenes-vit" in shown
    assert "mutual_knn" in shown


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
