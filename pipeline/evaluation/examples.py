"""A few queries of a retrieval test, right and wrong, with what was found for each: for people to look at."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from structure.pipeline.metrics.matrices import Array, as_numpy, unit_rows
from structure.store.errors import StructureError

EACH = 3
"""Queries that are right, and as many that are wrong, for each direction."""

ANSWERS = 5
SIDE = 96
"""Pixels of a thumbnail's longer side."""

_ANSWER = pa.struct(
    [
        ("item", pa.string()),
        ("file", pa.string()),
        ("text", pa.string()),
        ("picture", pa.binary()),
        ("cosine", pa.float32()),
        ("place", pa.int32()),
        ("right", pa.bool_()),
    ]
)
SCHEMA = pa.schema(
    [
        ("of", pa.string()),
        ("item", pa.string()),
        ("file", pa.string()),
        ("text", pa.string()),
        ("picture", pa.binary()),
        ("rank", pa.int32()),
        ("answers", pa.list_(_ANSWER)),
    ]
)
"""One row a query. `of` is what is looked for, "image" or "text"; `file` the image's file name, "" where the data are
no image files; `rank` that of the best right answer, 0 = first;
`answers` the five best, best first, and the best right one where it is not among them; `picture` a JPEG or null."""


def retrieval_examples(
    images: Array,
    texts: Array,
    image_of_text: np.ndarray,
    *,
    ranks: tuple[np.ndarray, np.ndarray],
    names: Sequence[tuple[str, str]],
    captions: Sequence[str],
    thumbnail: Callable[[int], bytes | None],
) -> pa.Table:
    """Examples of a test of `images` (n, dim) against `texts` (m, dim), as a table of `SCHEMA`.

    `image_of_text` (m,) is the image row of each caption; `ranks` (m,) of the images and (n,) of the texts were found;
    `names` are the id and the file name of each image, `thumbnail` draws an image row. Queries are spread over the
    test, so that those of two aligners that were right about the same queries are the same.
    """
    left, right = unit_rows(images, name="image embeddings"), unit_rows(texts, name="caption embeddings")

    def image(row: int) -> dict[str, Any]:
        item, file = names[row]
        return {"item": item, "file": file, "text": None, "picture": thumbnail(row)}

    def text(row: int) -> dict[str, Any]:
        item, file = names[int(image_of_text[row])]
        return {"item": item, "file": file, "text": captions[row], "picture": None}

    found: list[dict[str, Any]] = []
    for of, query, gallery, its_ranks, asked, answer in (
        ("image", right, left, ranks[0], text, image),
        ("text", left, right, ranks[1], image, text),
    ):
        for row in _chosen(its_ranks):
            cosines = as_numpy(gallery @ query[row])
            own = np.arange(len(left)) == image_of_text[row] if of == "image" else image_of_text == row
            answers = [
                {**answer(place), "cosine": float(cosines[place]), "place": rank, "right": bool(own[place])}
                for rank, place in _best(cosines, own, int(its_ranks[row]))
            ]
            found.append({"of": of, **asked(row), "rank": int(its_ranks[row]), "answers": answers})
    return pa.Table.from_pylist(found, schema=SCHEMA)


def jpeg(picture: Callable[[], Any]) -> bytes | None:
    """A thumbnail of a PIL image; None where the data have no image that can be read."""
    try:
        small = picture().convert("RGB")
    except StructureError:
        return None
    small.thumbnail((SIDE, SIDE))
    sink = io.BytesIO()
    small.save(sink, "JPEG", quality=80)
    return sink.getvalue()


def _chosen(ranks: np.ndarray) -> list[int]:
    """Rows of `EACH` right and as many wrong queries, spread over the test."""
    found: list[int] = []
    for rows in (np.flatnonzero(ranks == 0), np.flatnonzero(ranks > 0)):
        if len(rows):
            places = np.linspace(0, len(rows) - 1, num=min(EACH, len(rows))).round().astype(int)
            found += [int(row) for row in rows[places]]
    return found


def _best(cosines: np.ndarray, own: np.ndarray, rank: int) -> Iterator[tuple[int, int]]:
    """(rank, row) of the answers to show; equal cosines in the order of their rows, as ranks count them."""
    order = np.lexsort((np.arange(len(cosines)), -cosines))[:ANSWERS]
    yield from enumerate(int(row) for row in order)
    if not own[order].any():
        yield rank, int(np.flatnonzero(own)[cosines[own].argmax()])
