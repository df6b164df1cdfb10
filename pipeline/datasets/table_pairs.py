"""From the rows of a table to pairs: one an image, with its captions, class and split, checked row by row."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from structure.pipeline.datasets.class_labels import MISSING_WORDS, class_values
from structure.pipeline.datasets.image_files import require_text
from structure.pipeline.datasets.table_rows import Row
from structure.pipeline.datasets.text_cells import are_listed, listed_texts, texts_in
from structure.store.errors import StructureError


@dataclass(frozen=True)
class Pair:
    """`path` as it is written, "" for none; `captions` as they are, stripped; `place` is where the row stands, and
    `problem` why it cannot be used, "" where it can."""

    id: str
    path: str = ""
    captions: tuple[str, ...] = ()
    label: str | int | tuple[str | int, ...] | None = None
    split: str = ""
    place: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Pairs:
    """The pairs of a table in order, each id once, and what was put together on the way."""

    pairs: tuple[Pair, ...]
    notes: tuple[str, ...] = ()


def read_pairs(file: Path, rows: Sequence[Row], *, signal: str) -> Pairs:
    """Rows of the same image are one pair with several captions, unless they have ids of their own.

    A row that cannot be used has a `problem`. Raises `StructureError`, with the lines, for ids that are not text, rows
    of one id with different images, and rows of one image in two splits or, under one id, of two classes.
    """
    pairs: dict[str, Pair] = {}
    repeats: dict[str, int] = {}
    images = _Images(file, signal)
    same = 0
    rows, lists = _with_lists_read(rows)
    for row in rows:
        pair = images.owner(_pair(file, row, signal))
        if pair.problem and pair.id in pairs:
            pair = replace(pair, id=f"{pair.id}#{_slug(row.place)}")
        first = pairs.setdefault(pair.id, pair)
        if first is pair:
            continue
        if first.problem:  # the good row has the id
            pairs[pair.id] = pair
            pairs[f"{first.id}#{_slug(first.place)}"] = replace(first, id=f"{first.id}#{_slug(first.place)}")
            continue
        _require_one(file, first, pair, signal)
        new = [caption for caption in pair.captions if caption not in first.captions]
        same += len(pair.captions) - len(new)
        repeats[pair.id] = repeats.get(pair.id, 1) + 1
        label = first.label if first.label is not None else pair.label
        pairs[pair.id] = replace(first, captions=(*first.captions, *new), label=label)
    notes = [*_notes(pairs.values(), repeats, same, signal)]
    if images.apart:
        notes.append(
            f"{images.apart} rows show the {signal} of an earlier row under an id of their own: each is a sample of "
            f"its own, and their captions count as wrong for each other; ?id={signal} puts them together"
        )
    if lists:
        notes.append(f"{lists} captions are lists written as text, and are read as lists")
    return Pairs(tuple(pairs.values()), tuple(notes))


@dataclass
class _Images:
    """Which pair an image belongs to; `apart` counts rows of one that is another's already."""

    file: Path
    signal: str
    first: dict[str, Pair] = field(default_factory=dict)
    apart: int = 0

    def owner(self, pair: Pair) -> Pair:
        """The pair, under the path of the first row of its image where both are named by that. Raises `StructureError`
        for an image in two splits."""
        if not pair.path or pair.problem:
            return pair
        first = self.first.setdefault(os.path.normpath(pair.path), pair)
        if first is pair or (first.id, first.path) == (pair.id, pair.path):
            return pair
        same = replace(pair, id=first.id, path=first.path)
        if first.id == first.path and pair.id == pair.path:  # one image, written in two ways
            return same
        if first.split != pair.split:
            _require_one(self.file, first, same, self.signal)
        self.apart += 1
        return pair


def _with_lists_read(rows: Sequence[Row]) -> tuple[Sequence[Row], int]:
    """The rows with their captions as lists where all are lists written as text, and how many."""
    cells = [row.values.get("caption") for row in rows]
    if not are_listed(cells):
        return rows, 0
    read = [
        replace(row, values={**row.values, "caption": list(listed_texts(cell) or ())}) if cell else row
        for row, cell in zip(rows, cells, strict=True)
    ]
    return read, sum(map(bool, cells))


def _pair(file: Path, row: Row, signal: str) -> Pair:
    if row.problem:
        named = row.values.get(signal) or row.values.get("id")
        split = row.values.get("split")
        name = named if isinstance(named, str) else _slug(row.place)
        return Pair(name, split=split if isinstance(split, str) else "", place=row.place, problem=row.problem)
    where = f"{file}, {row.place}"
    given = row.values.get("id")
    if isinstance(given, int) and not isinstance(given, bool):
        given = str(given)
    if given is not None and not isinstance(given, str):
        raise StructureError(f"{where}: id is {given!r}; it must be text or a whole number.")
    try:
        path = _path(row, signal)
        split = _path(row, "split").strip()
        captions = tuple(_captions(row))
        label = class_values(row.values.get("label"))
    except ValueError as error:
        written = row.values.get(signal)
        name = given or (written if isinstance(written, str) else "") or _slug(row.place)
        if "label" in str(error) or "split" in str(error):
            raise StructureError(f"{where}: {error}") from None
        split = row.values.get("split", "")
        return Pair(name, split=split, place=row.place, problem=str(error))
    item = given or path or _slug(row.place)
    require_text(item, what="id", where=where)
    return Pair(item, path, captions, label, split, row.place)


def _path(row: Row, column: str) -> str:
    value = row.values.get(column, "")
    if not isinstance(value, str):
        inside = isinstance(value, dict) and "bytes" in value
        path = " (a path to a file)" if column in ("image", "audio", "video") else ""
        raise ValueError(
            f"{column} is {_called(value)}; it must be text{path}"
            + (". For images inside a Parquet file type hf: and the folder of the file" if inside else "")
        )
    return value.strip() and value


def _captions(row: Row) -> Iterator[str]:
    if "caption" in row.values and "captions" in row.values:
        raise ValueError("has both caption and captions. Keep one of them, or name it: ?caption=caption")
    given = row.values.get("captions", row.values.get("caption"))
    for caption in texts_in(given):
        if not isinstance(caption, str):
            raise ValueError(f"a caption is {_called(caption)}; it must be text")
        try:
            caption.encode()
        except UnicodeEncodeError:
            raise ValueError(f"the caption {caption!r} is not Unicode text (UTF-8)") from None
        yield caption.strip()


def _require_one(file: Path, first: Pair, pair: Pair, signal: str) -> None:
    """Two rows of one id are one image in one split, of one class."""
    where = f"{file}: {first.place} and {pair.place}"
    if first.path != pair.path:
        raise StructureError(
            f"{where} have the same id {pair.id!r} and the {signal}s {first.path} and {pair.path}; features could not "
            "be told apart. Give each row its own id."
        )
    if first.split != pair.split:
        raise StructureError(
            f"{where} have the same {signal} {pair.path} in the splits {first.split!r} and {pair.split!r}: it would be "
            "trained on and tested on. Keep it in one of them."
        )
    if None not in (first.label, pair.label) and first.label != pair.label:
        raise StructureError(
            f"{where} have the same {signal} {pair.path} with the labels {first.label!r} and {pair.label!r}; a sample "
            "is of one class. Give each row an id of its own, or keep one label."
        )


def _notes(pairs: Iterable[Pair], repeats: dict[str, int], same: int, signal: str) -> Iterator[str]:
    if repeats:
        rows = sum(repeats.values())
        twice = f"; {same} captions that repeat word for word are left out" if same else ""
        shared = f"{len(repeats)} {signal}{'s' if len(repeats) > 1 else ''}"
        yield f"{rows} rows share {shared}: their captions are put together{twice}"
    missing = [caption for pair in pairs for caption in pair.captions if caption in MISSING_WORDS]
    if missing:
        yield (
            f"{len(missing)} captions are the word {missing[0]!r}, which programs write for a missing value: leave "
            "such cells empty, and they are skipped"
        )


def _called(value: Any) -> str:
    names = {"dict": "an object", "list": "a list", "bytes": "bytes"}
    return names.get(type(value).__name__, repr(value))


def _slug(place: str) -> str:
    return place.replace(" ", "-")
