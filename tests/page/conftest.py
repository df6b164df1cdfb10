"""A store whose captions, classes and recipe attack the page, its page, and a real browser to look at it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from structure.pipeline import align, evaluate, extract, rank_layers, rank_models, report
from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.recipe.recipe import StoredPairs
from structure.pipeline.recipe.running import run
from structure.pipeline.recipe.sweep import Axes, sweep_recipe
from structure.pipeline.run_context import RunContext
from structure.store import Store, open_store

MODELS = ["bundled:scenes-vit", "bundled:scenes-text"]
OPTIONS = TrainingOptions(dim=8, epochs=2, batch=16)
ATTACK = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"
CLASSES = ("<b onmouseover=alert(1)>red</b>", "grün & 'blau' \"x\"")
COUNT = 40


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Forty images of two colours through every stage: ranking, sweep, comparison, retrieval, classes."""
    folder = tmp_path_factory.mktemp("hostile")
    rows = []
    for number in range(COUNT):
        red = number % 2 == 0
        Image.new("RGB", (16, 16), (200, 5 * number, 0) if red else (0, 5 * number, 200)).save(folder / f"{number}.png")
        row = {"image": f"{number}.png", "caption": f"{ATTACK} {number} {'red' if red else 'blue'}"}
        rows.append({**row, "id": f"<i>{number}", "label": CLASSES[0 if red else 1]})
    (folder / "hostile.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = f"pairs:{folder}/hostile.jsonl"
    made = open_store(folder / "store")
    extract(MODELS, data, store=made, split="all", layers=["block.0[01]", "pooled"])
    rank_layers(store=made, k=4, calibrate=20)
    rank_models(store=made, k=4, calibrate=0)
    for layers in ("auto", "last"):
        align(layers, store=made, options=OPTIONS, name=layers)
    axes = Axes("auto", curve=[12, 20], compare=("dim", [4, 8]))
    quick = {"epochs": 2, "batch": 16}
    run(sweep_recipe("sweep", axes, training=quick, stored=StoredPairs(test=0.4), seeds=[1, 2]), RunContext(made))
    suite = folder / "small.yaml"
    suite.write_text(
        f"name: small\nversion: 1\ndefaults: {{dataset: 'pairs:{folder}/hostile.jsonl', split: all, prompts: plain}}\n"
        "tasks:\n"
        "  - {label: label, kind: zeroshot_classification, metric: acc1}\n"
        "  - {kind: zeroshot_retrieval, metric: image_retrieval_recall@10, prompts: null}\n"
    )
    evaluate(str(suite), store=made, compare=("auto", "last"))
    points = [{"vision_layer": f"v{n}", "text_layer": "t", "similarity": n / 10, "value": n / 9} for n in range(4)]
    found = {"group": "a with b", "dataset": "d", "task": "t", "metric": "acc1", "rho": 1.0, "p_value": 0.0}
    row = {"dataset": "d", "task": "t", "metric": "acc1", "value": 0.5, "low": 0.4, "high": 0.6, "seeds": 2}
    summary = {
        "recipe": "<script>window.hacked = 1</script>",
        "about": ATTACK,
        "means": [{**row, "variant": name, "chance": 0.25} for name in (ATTACK, "other")],
        "differences": [{**row, "first": ATTACK, "second": "other", "value": 0.0, "low": -0.1, "high": 0.1}],
        "correlations": [{**found, "points": points, "layer_pairs": 4}],
        "seconds": {"rank": 1.0},
    }
    made.folder("reports", "hostile").write("summary.json", json.dumps(summary).encode())
    return made


@pytest.fixture(scope="session")
def page(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of that store."""
    return Path(report(store=store, out=tmp_path_factory.mktemp("page") / "report.html"))


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Headless Chromium through Debian's chromedriver; skips where either is not here."""
    program, driver = (shutil.which(name) for name in ("chromium", "chromedriver"))
    if program is None or driver is None:
        pytest.skip("no chromium and chromedriver here (Debian: apt-get install chromium-driver)")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = program
    folder = tmp_path_factory.mktemp("browser")
    for word in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1280,900",
        f"--user-data-dir={folder}",
    ):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver))
    yield opened
    opened.quit()


@pytest.fixture(scope="module")
def opened(browser: Any, page: Path) -> Any:
    """The browser with the page, every chart drawn."""
    browser.get(page.as_uri())
    drawn = (
        "return document.querySelectorAll('.chart').length === document.querySelectorAll('.chart[data-drawn]').length"
    )
    deadline = time.monotonic() + 60
    while not browser.execute_script(drawn):
        assert time.monotonic() < deadline, browser.get_log("browser")
        time.sleep(0.05)
    return browser
