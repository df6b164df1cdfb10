"""The API as an OpenAPI 3.1 document."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from structure.pipeline.serving.parameters import HITS, MOST_HITS, MOST_WORDS
from structure.pipeline.serving.uploads import MOST_BYTES, MOST_PIXELS

TEXT, NUMBER, COUNT = {"type": "string"}, {"type": "number"}, {"type": "integer", "minimum": 0}
TARGET = {"type": "string", "enum": ["images", "text"]}


def openapi() -> dict[str, Any]:
    """The document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "structure serve",
            "version": version("structure-align"),
            "description": "The images or captions of a dataset that are nearest to words or to an image.",
        },
        "paths": {
            "/api/about": {"get": _operation("about", "What is searched, with what, and the limits.", "About")},
            "/api/search": {
                "get": _operation(
                    "search",
                    "Search with words (q), or with an image that is searched itself (like).",
                    "Found",
                    parameters=[
                        _query("q", {"type": "string", "minLength": 1, "maxLength": MOST_WORDS}, "words"),
                        _query("like", COUNT, "the row of an image, as hits give it"),
                        *_common(),
                    ],
                ),
                "post": _operation(
                    "searchWithImage",
                    f"Search with the image that is the body: at most {MOST_BYTES:,} bytes and {MOST_PIXELS:,} pixels.",
                    "Found",
                    parameters=_common(),
                    body=_binary("application/octet-stream", "image/*"),
                ),
            },
            "/api/images/{row}/thumbnail": {"get": _image("thumbnail", "An image, scaled down.")},
            "/api/images/{row}/file": {"get": _image("file", "An image as the dataset holds it.")},
        },
        "components": {"schemas": {"About": _about(), "Found": _found(), "Hit": _hit(), "Error": _object(error=TEXT)}},
    }


def _about() -> dict[str, Any]:
    return _object(
        structure=TEXT,
        aligner=TEXT,
        dataset=TEXT,
        splits={"type": "array", "items": TEXT},
        rows=_object(images=COUNT, text=COUNT),
        queries={"type": "array", "items": {"type": "string", "enum": ["words", "image"]}},
        limits=_object(k=COUNT, characters=COUNT, bytes=COUNT, pixels=COUNT),
    )


def _found() -> dict[str, Any]:
    return _object(
        to=TARGET,
        k=COUNT,
        rows={**COUNT, "description": "how many were searched"},
        notes={"type": "array", "items": TEXT, "description": "what is odd about the query"},
        hits={"type": "array", "items": {"$ref": "#/components/schemas/Hit"}, "description": "best first"},
        seconds=NUMBER,
    )


def _hit() -> dict[str, Any]:
    row = {"type": ["integer", "null"], "description": "of the image; null for a caption without one that is searched"}
    link = {"type": ["string", "null"], "description": "relative to the server; null where the image cannot be shown"}
    return _object(
        rank={"type": "integer", "minimum": 1},
        score={**NUMBER, "description": "the aligner's similarity"},
        id={**TEXT, "description": "of the sample, or of its caption"},
        caption=TEXT,
        split=TEXT,
        path={**TEXT, "description": "below the folder of the images; empty where they are no files"},
        note={**TEXT, "description": "what has become of the file; empty where it is as it was encoded"},
        row=row,
        thumbnail=link,
        file=link,
    )


def _operation(
    name: str, about: str, schema: str, *, parameters: list[dict[str, Any]] | None = None, body: Any = None
) -> dict[str, Any]:
    found: dict[str, Any] = {"operationId": name, "summary": about, "responses": _responses(_json(schema))}
    if parameters:
        found["parameters"] = parameters
    if body:
        found["requestBody"] = {"required": True, "content": body}
    return found


def _image(name: str, about: str) -> dict[str, Any]:
    row = {"name": "row", "in": "path", "required": True, "schema": COUNT}
    return {
        "operationId": name,
        "summary": about,
        "parameters": [row],
        "responses": _responses(_binary("image/*")),
    }


def _responses(content: dict[str, Any]) -> dict[str, Any]:
    return {
        "200": {"description": "The answer.", "content": content},
        "default": {"description": "Why there is none: 400, 403, 404, 408, 413, 415, 503.", "content": _json("Error")},
    }


def _common() -> list[dict[str, Any]]:
    count = {"type": "integer", "minimum": 1, "maximum": MOST_HITS, "default": HITS}
    return [_query("to", {**TARGET, "default": "images"}, "what is looked for"), _query("k", count, "how many")]


def _query(name: str, schema: dict[str, Any], about: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema, "description": about}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _binary(*kinds: str) -> dict[str, Any]:
    return {kind: {"schema": {"type": "string", "format": "binary"}} for kind in kinds}
