"""What a search request asks: its parameters, checked."""

from __future__ import annotations

import re
from typing import get_args

from starlette.requests import Request

from structure.pipeline.inference.queries import require_texts
from structure.pipeline.inference.search_result import Target
from structure.pipeline.serving.refused import RefusedError
from structure.pipeline.serving.search_engine import SearchEngine, SearchQuestion
from structure.store.errors import unknown

MOST_HITS = 200
HITS = 12
"""Hits where the request does not say how many."""
MOST_WORDS = 2000
"""Characters of a query."""

KNOWN = {"GET": ("q", "like", "to", "k"), "POST": ("to", "k")}
TARGETS: tuple[Target, ...] = get_args(Target)


def read_question(request: Request, engine: SearchEngine) -> SearchQuestion:
    """The question of a request; that of a POST still lacks the image, which is its body.

    Raises StructureError for parameters that make no sense, RefusedError for what this engine cannot be asked.
    """
    given = dict(request.query_params)
    known = KNOWN["POST" if request.method == "POST" else "GET"]  # HEAD is a GET without its body
    for name, _ in request.query_params.multi_items():
        if name not in known:
            raise unknown("parameter", name, known)
        if len(request.query_params.getlist(name)) > 1:
            raise RefusedError(400, f"The parameter {name} is given twice. Give it once.")
    to, k = _target(given.get("to", "images"), engine), _count(given.get("k", str(HITS)))
    if request.method == "POST":
        _require_image(request, engine)
        return SearchQuestion(to, k)
    if ("q" in given) == ("like" in given):
        raise RefusedError(400, "Give q (words) or like (the row of an image), one of them.")
    if "like" in given:
        return SearchQuestion(to, k, like=_row(given["like"], engine))
    words = given["q"]
    if "text" not in engine.sides:
        raise RefusedError(400, "The text encoder of the aligner is not here: words cannot be searched with.")
    require_texts([words])
    if len(words) > MOST_WORDS:
        raise RefusedError(
            400, f"The query has {len(words):,} characters, at most {MOST_WORDS:,} are taken. Shorten it."
        )
    return SearchQuestion(to, k, words=words)


def _target(given: str, engine: SearchEngine) -> Target:
    for to in TARGETS:
        if to == given and to in engine.found:
            return to
    if given in TARGETS:
        raise RefusedError(400, f"The captions of {engine.dataset} are not in the store. Ask with to=images.")
    raise unknown("value of to", given, TARGETS)


def _count(given: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", given) or not 1 <= int(given) <= MOST_HITS:
        raise RefusedError(400, f"k={given[:40]} is not a number from 1 to {MOST_HITS}.")
    return int(given)


def _row(given: str, engine: SearchEngine) -> int:
    row = int(given) if re.fullmatch("[0-9]{1,12}", given) else -1
    if not engine.is_image(row):
        raise RefusedError(404, f"like={given[:40]} is no image that is searched.")
    return row


def _require_image(request: Request, engine: SearchEngine) -> None:
    """Raises RefusedError where no image can be searched with, and for a body that is not sent as one."""
    if "vision" not in engine.sides:
        raise RefusedError(400, "The vision encoder of the aligner is not here: images cannot be searched with.")
    kind = request.headers.get("content-type", "application/octet-stream").partition(";")[0].strip().lower()
    if not kind.startswith("image/") and kind != "application/octet-stream":
        raise RefusedError(
            415,
            f"A body of the type {kind[:80]} is not read. Send the bytes of an image file, as "
            "curl --data-binary @FILE -H 'Content-Type: application/octet-stream' does.",
        )
