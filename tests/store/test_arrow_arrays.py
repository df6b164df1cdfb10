"""Texts of an array lie below the places that it can name; more of them are refused, never wrapped."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest

from structure.store import StructureError, arrow_arrays
from structure.store.arrow_arrays import joined_chunks, numbered, strings

TEXTS = ["row", "größe", "", "日本"]
SIZE = sum(len(text.encode()) for text in TEXTS)
HALVES = pa.chunked_array([strings(TEXTS[:2]), strings(["left out", *TEXTS[2:]])[1:]])


@pytest.mark.parametrize(
    ("make", "size", "texts"),
    [
        (lambda: strings(TEXTS), SIZE, TEXTS),
        (lambda: joined_chunks(HALVES), SIZE, TEXTS),
        (lambda: numbered(1001), 2894, [str(number) for number in range(1001)]),
        (lambda: numbered(10), 10, list("0123456789")),
        (lambda: numbered(11), 12, [*"0123456789", "10"]),
    ],
)
def test_texts_that_exceed_an_array_are_refused(
    make: Callable[[], pa.Array], size: int, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrow_arrays, "MOST_BYTES", size)
    assert make().to_pylist() == texts
    monkeypatch.setattr(arrow_arrays, "MOST_BYTES", size - 1)
    with pytest.raises(StructureError, match=f"take {size:,} bytes; one sample index holds up to {size - 1:,}"):
        make()
