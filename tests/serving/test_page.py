"""The page in a real browser, on icons that are drawn from a package: words, images, keys, narrow screens."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from structure.pipeline import serve
from structure.pipeline.serving.search_server import SearchServer
from tests.serving.conftest import ask, found


@pytest.fixture(scope="module")
def icon_server(icons: Path) -> Iterator[SearchServer]:
    with serve(store=icons, port=0, device="cpu") as running:
        yield running


@pytest.fixture
def page(browser: Any, icon_server: SearchServer) -> Any:
    """The browser with the page, ready."""
    browser.get(f"{icon_server.url}/")
    wait(browser, "return document.getElementById('about').textContent !== ''")
    browser.get_log("browser")
    return browser


def wait(browser: Any, script: str) -> None:
    WebDriverWait(browser, 30, poll_frequency=0.05).until(lambda one: one.execute_script(script))


def hits(browser: Any) -> list[str]:
    """The ids that are shown."""
    return [one.text for one in browser.find_elements(By.CSS_SELECTOR, "#hits .id")]


def searched(browser: Any, words: str) -> None:
    """Wait for what was found for this."""
    wait(browser, f"return document.getElementById('status').textContent.includes({json.dumps(words)})")


def test_words_that_are_typed_find_the_right_icon(page: Any, icon_server: SearchServer) -> None:
    name, caption = "weather-hazy", "weather hazy"
    page.switch_to.active_element.send_keys(caption, Keys.ENTER)  # the field has the focus
    searched(page, f"nearest to “{caption}” first")
    assert hits(page)[0] == name
    assert len(hits(page)) == 12
    first = page.find_element(By.CSS_SELECTOR, "#hits .hit")
    assert first.find_element(By.TAG_NAME, "img").get_attribute("alt") == caption
    wait(page, "return [...document.querySelectorAll('#hits img')].every(i => i.complete && i.naturalWidth === 96)")
    link = first.find_element(By.TAG_NAME, "a").get_attribute("href")
    answer = ask(icon_server, link.removeprefix(icon_server.url))
    assert answer.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(answer.body)) as image:
        assert image.size == (96, 96)
    assert page.find_element(By.ID, "status").get_attribute("role") == "status"
    assert "q=" in page.current_url
    page.refresh()
    searched(page, caption)  # the address says what is shown
    assert hits(page)[0] == name
    assert page.get_log("browser") == []
    asked = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    urls = [one["params"]["request"]["url"] for one in asked if one["method"] == "Network.requestWillBeSent"]
    assert {url for url in urls if not url.startswith((icon_server.url, "data:", "blob:", "chrome"))} == set()


def test_an_image_that_is_chosen_finds_itself(page: Any, icon_server: SearchServer, tmp_path: Path) -> None:
    data = ask(icon_server, "/api/images/5/file").body
    (tmp_path / "mine.png").write_bytes(data)
    page.find_element(By.ID, "file").send_keys(str(tmp_path / "mine.png"))
    searched(page, "nearest to the image mine.png first")
    own = found(icon_server, "/api/search?like=5&k=1")["hits"][0]["id"]
    assert own in hits(page)[:2]
    assert page.find_element(By.ID, "asked-name").text == "mine.png"
    (tmp_path / "none.png").write_text("no image")
    page.find_element(By.ID, "file").send_keys(str(tmp_path / "none.png"))
    wait(page, "return !document.getElementById('problem').hidden")
    assert "not an image" in page.find_element(By.CSS_SELECTOR, "[role=alert]").text
    assert hits(page) == []


def test_it_is_used_with_keys_alone(page: Any) -> None:
    page.switch_to.active_element.send_keys(Keys.ENTER)
    wait(page, "return document.getElementById('problem').textContent.includes('The query is empty')")
    page.switch_to.active_element.send_keys("weather", Keys.ENTER)
    searched(page, "weather")
    assert page.find_element(By.ID, "problem").is_displayed() is False
    names = []
    for _ in range(8):
        ActionChains(page).send_keys(Keys.TAB).perform()
        names.append(page.switch_to.active_element.accessible_name)
    assert names[:4] == ["Search", "Choose an image", "Find", "Results"]
    second = hits(page)[1]
    assert names[4:8:2] == [name.replace("-", " ") for name in hits(page)[:2]]
    assert names[7] == f"More like {second.replace('-', ' ')}"
    ActionChains(page).send_keys(Keys.ENTER).perform()
    searched(page, f"nearest to the image {second} first")
    assert hits(page)[0] == second
    assert page.switch_to.active_element.get_attribute("id") == "found"
    page.back()
    searched(page, "weather")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_narrow_screen_in_light_and_dark(page: Any, icon_server: SearchServer, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    screen = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    try:
        page.get(f"{icon_server.url}/?q={'weather' * 40}&k=24")
        searched(page, "weather")
        wide = page.execute_script(
            "return [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > 391)"
            ".map(e => e.outerHTML.slice(0, 80))"
        )
        assert wide == []
        assert page.execute_script("return document.documentElement.scrollWidth") == 390
        ground, ink = page.execute_script(
            "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"
            ".map(c => c.match(/\\d+/g).reduce((a, b) => a + +b, 0))"
        )
        assert (ground > ink) == (scheme == "light")
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
