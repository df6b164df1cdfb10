"""The JSON API: the same hits as the command, described as it is, mistakes in words."""

from __future__ import annotations

import io
import re
from pathlib import Path
from urllib.parse import quote

import jsonschema
import pytest
from PIL import Image

from structure.pipeline import search
from structure.pipeline.serving.search_server import SearchServer
from tests.inference.conftest import Place
from tests.serving.conftest import ask, found

RED = "/api/search?q=a+red+circle"


def test_words_find_what_the_command_finds(server: SearchServer, photos: Place) -> None:
    (expected,) = search("a red circle", store=photos.store, k=5, device="cpu").queries
    document = found(server, f"{RED}&k=5")
    assert [hit["id"] for hit in document["hits"]] == [hit.id for hit in expected.hits]
    assert [hit["score"] for hit in document["hits"]] == pytest.approx([hit.score for hit in expected.hits], abs=1e-5)
    assert [hit["path"] for hit in document["hits"]] == [Path(hit.path).name for hit in expected.hits]
    assert (document["rows"], document["to"], document["notes"]) == (80, "images", [])
    assert document["hits"][0]["caption"] == expected.hits[0].caption


def test_captions_are_found(server: SearchServer, photos: Place) -> None:
    (expected,) = search("a red circle", store=photos.store, k=5, to="text", device="cpu").queries
    hits = found(server, f"{RED}&k=5&to=text")["hits"]
    assert [hit["id"] for hit in hits] == [hit.id for hit in expected.hits]
    own = found(server, f"/api/search?like={hits[0]['row']}&k=1")["hits"][0]
    assert own["id"] == expected.hits[0].sample


def test_an_image_finds_itself(server: SearchServer, photos: Place) -> None:
    data = (photos.photos / "007.png").read_bytes()
    for kind in ("image/png", "application/octet-stream", None):
        document = found(server, "/api/search?k=1", method="POST", body=data, headers={"Content-Type": kind})
        assert document["hits"][0]["path"] == "007.png"
        assert document["hits"][0]["score"] == pytest.approx(1, abs=1e-3)
    row = document["hits"][0]["row"]
    assert found(server, f"/api/search?like={row}")["hits"][0]["path"] == "007.png"


def test_images_are_sent_as_the_dataset_holds_them(server: SearchServer, photos: Place) -> None:
    for hit in found(server, f"{RED}&k=3")["hits"]:
        own = ask(server, f"/{hit['file']}")
        assert (own.status, own.headers["content-type"]) == (200, "image/png")
        assert own.body == (photos.photos / hit["path"]).read_bytes()
        small = ask(server, f"/{hit['thumbnail']}")
        with Image.open(io.BytesIO(small.body)) as image:
            assert max(image.size) <= 320
            assert image.get_format_mimetype() == small.headers["content-type"]


def test_the_api_is_what_its_document_says(server: SearchServer) -> None:
    document = found(server, "/openapi.json")
    assert document["openapi"].startswith("3.1")
    described = {path.replace("{row}", "{row:int}"): set(one) for path, one in document["paths"].items()}
    routes = {
        route.path: {method.lower() for method in route.methods or () if method != "HEAD"}
        for route in server._app.starlette.routes
        if route.path.startswith("/api/")
    }
    assert described == routes
    schemas = {"components": document["components"]}
    answers = {"About": "/api/about", "Found": f"{RED}&k=3", "Error": "/api/search"}
    answers |= {"Found ": f"{RED}&to=text", "Found  ": "/api/search?like=3&k=200"}
    for name, path in answers.items():
        schema = {**schemas, "$ref": f"#/components/schemas/{name.strip()}"}
        jsonschema.Draft202012Validator(schema).validate(ask(server, path).document)
    assert found(server, "/api/about")["queries"] == ["words", "image"]


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("", 400, "Give q (words) or like"),
        ("q=a&like=1", 400, "one of them"),
        ("q=", 400, "The query is empty"),
        ("q=%20%09", 400, "The query is empty"),
        ("q=a&q=b", 400, "q is given twice"),
        ("query=a", 400, "Unknown parameter 'query'"),
        ("q=a&K=3", 400, "Did you mean k?"),
        ("q=a&k=0", 400, "k=0 is not a number from 1 to 200"),
        ("q=a&k=201", 400, "not a number from 1 to 200"),
        ("q=a&k=1e3", 400, "k=1e3"),
        ("q=a&k=%D9%A3", 400, "not a number"),
        ("q=a&to=imges", 400, "Did you mean images?"),
        (f"q={'a' * 2001}", 400, "2,001 characters, at most 2,000"),
        ("like=80", 404, "no image"),
        ("like=-1", 404, "no image"),
        (f"like={'9' * 500}", 404, "no image"),
    ],
)
def test_a_question_that_makes_no_sense_is_answered_in_words(
    server: SearchServer, query: str, status: int, said: str
) -> None:
    answer = ask(server, f"/api/search?{query}")
    assert answer.status == status
    assert said in answer.document["error"]
    assert len(answer.body) < 400


def test_a_query_in_another_script_or_too_long_is_answered_with_a_note(server: SearchServer) -> None:
    document = found(server, f"/api/search?q={quote('красный круг')}&k=2")
    assert len(document["hits"]) == 2
    assert "is in Cyrillic letters" in document["notes"][0]
    long = found(server, f"/api/search?q={quote('red circle ' * 150)}&k=1")
    assert re.search(r"longer than \d+ tokens and was cut", long["notes"][0])
    assert found(server, "/api/search?q=%F0%9F%8C%A9%00%ff&k=1")["hits"]


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nothing", 404), ("POST", "/api/about", 405), ("DELETE", "/", 405)]
)
def test_what_is_not_there_is_said_as_json(server: SearchServer, method: str, path: str, status: int) -> None:
    answer = ask(server, path, method=method)
    assert answer.status == status
    assert "openapi.json" in answer.document["error"]


def test_a_head_is_answered_without_a_body(server: SearchServer) -> None:
    for path in ("/", "/api/about", f"{RED}&k=1", "/api/images/0/thumbnail"):
        answer = ask(server, path, method="HEAD")
        assert (answer.status, answer.body) == (200, b"")
        assert int(answer.headers["content-length"]) > 100
