"""Image-caption pairs from a table of the user's own: `pairs:FILE.jsonl|csv|tsv|parquet`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from structure.pipeline.datasets.class_labels import class_value, number_classes
from structure.pipeline.datasets.dataset import AudioClip, Item, Task, within
from structure.pipeline.datasets.decode_audio import decode_audio
from structure.pipeline.datasets.image_files import ImageFiles, require_text
from structure.pipeline.datasets.kind import DatasetKind
from structure.pipeline.datasets.paths import folder_safe, locate
from structure.pipeline.datasets.split_names import default_split, pick_split
from structure.pipeline.datasets.splits import choose
from structure.pipeline.datasets.table_rows import Row, read_rows
from structure.store.errors import BadSampleError, NotPresentError, StructureError, nearest, unknown

if TYPE_CHECKING:
    from PIL import Image

PROBED = 8


class PairsFile(ImageFiles):
    """One sample per row of a JSON Lines, CSV, TSV or Parquet file.

    Columns: `image`, or `audio` for audio clips (a path relative to the file's folder, or absolute: the file is the
    user's own and may name any file that the user can read), `caption` (text) or `captions` (a list of texts), optional
    `id`, `label` and `split`; other columns are left unread. Captions lose white space at their ends.

    - Ids: `id`, or else `image` as written. An id that appears twice is an error.
    - Labels: names, numbered in sorted order, or whole numbers, numbered in numeric order, over the whole file, so
      that every split agrees. They are the task `label`.
    - Splits: with a column `split` its values (default `train` where there is one, else all); every row must then
      have one. Without the column, `all` (default), or `train`, `val`, `test` by a seeded hash of the id: 80, 10, 10
      per cent; adding rows moves no other row. `all` takes every row either way.

    With `with_images=False` nobody will read an image (features are there already): the column and the files may be
    absent, and a sample has a digest only where its file is there.

    A row without caption (where others have one), with an empty caption, or without image, raises `BadSampleError`
    when it is read. Raises `StructureError` for everything that concerns the table, with the line.
    """

    def __init__(self, file: str | Path, *, split: str | None = None, seed: int = 0, with_images: bool = True) -> None:
        self.file, self.with_images = Path(file), with_images
        rows, columns = read_rows(self.file)
        self.name = folder_safe(self.file.absolute().parent.name if self.file.stem == "pairs" else self.file.stem)
        self.signal = "audio" if "audio" in columns and "image" not in columns else "image"
        self._require_columns(columns)
        captioned = "caption" in columns or "captions" in columns
        self.kind = "retrieval" if captioned else "classification"
        ids = self._ids(rows)
        untyped = self.file.suffix.lower() in (".csv", ".tsv")
        classes, labels = self._labels(rows, untyped=untyped)
        self.tasks = {"label": Task(classes, source=f"column label of {self.file.name}")} if classes else {}
        self.split, chosen = self._choose(rows, ids, split=split, seed=seed)
        images = [self._text(rows[index], self.signal) for index in chosen]
        folder = str(self.file.parent)
        super().__init__([ids[i] for i in chosen], [os.path.join(folder, image) if image else "" for image in images])
        self._captions = [self._row_captions(rows[i]) if captioned else () for i in chosen]
        self._labels_of = [labels[i] for i in chosen]
        self._places = [rows[i].place for i in chosen]
        if with_images:
            self._probe()

    def item(self, index: int) -> Item:
        """Raises `BadSampleError` for a row without image, without caption, or with an empty one."""
        captions = self._captions[within(index, len(self))]
        if self.with_images and not self.paths[index]:
            raise self._bad(index, f"a caption without {self.signal}: the column {self.signal} is empty")
        if self.kind == "retrieval" and not captions:
            raise self._bad(index, f"{'an image' if self.signal == 'image' else 'an audio clip'} without caption")
        for number, caption in enumerate(captions, start=1):
            if not caption:
                which = "its caption" if len(captions) == 1 else f"caption {number} of {len(captions)}"
                raise self._bad(index, f"{which} is empty")
        label = self._labels_of[index]
        return Item(self.ids[index], captions, {} if label is None else {"label": label})

    def payload(self, index: int) -> bytes:
        if not self.paths[within(index, len(self))]:
            raise self._bad(index, f"a caption without {self.signal}: the column {self.signal} is empty")
        return super().payload(index)

    def stamp(self, index: int) -> str:
        return super().stamp(index) if self.with_images or self._is_there(index) else ""

    def digest(self, index: int) -> str:
        return super().digest(index) if self.with_images or self._is_there(index) else ""

    def _is_there(self, index: int) -> bool:
        return os.path.isfile(self.paths[within(index, len(self))])

    def image(self, index: int) -> Image.Image:
        if self.signal == "audio":
            raise StructureError(f"{self.file} pairs audio clips with captions: a vision encoder cannot read it.")
        return super().image(index)

    def audio(self, index: int) -> AudioClip:
        if self.signal == "image":
            return super().audio(index)
        return decode_audio(self.payload(index), item=self.ids[index], source=self.paths[index])

    def _bad(self, index: int, reason: str) -> BadSampleError:
        return BadSampleError(self.ids[index], f"{self.file}, {self._places[index]}: {reason}")

    def _require_columns(self, columns: Sequence[str]) -> None:
        if self.with_images and self.signal not in columns:
            close = nearest("image", columns, most=1)
            offer = (
                f" Did you mean {close[0]}? Rename it to image."
                if close
                else " Call the column with the paths of the images image (or audio, for audio clips); in CSV the "
                "first line names the columns."
            )
            raise StructureError(f"{self.file} has no column image; its columns are {', '.join(columns)}.{offer}")
        if not {"caption", "captions", "label"} & set(columns):
            raise StructureError(
                f"{self.file} has neither caption, captions nor label; its columns are {', '.join(columns)}. A pair "
                "needs a text: call the column with the texts caption. For images without texts use folder:DIR."
            )

    def _ids(self, rows: Sequence[Row]) -> list[str]:
        seen: dict[str, str] = {}
        for row in rows:
            given = row.values.get("id")
            if isinstance(given, int) and not isinstance(given, bool):
                given = str(given)
            if given is not None and not isinstance(given, str):
                raise StructureError(f"{self.file}, {row.place}: id is {given!r}; it must be text or a whole number.")
            image = self._text(row, self.signal)
            item = given or image or row.place.replace(" ", "-")
            require_text(item, what="id", where=f"{self.file}, {row.place}")
            if item in seen:
                remedy = (
                    "Give each row its own id."
                    if given
                    else f'Put all captions of {image} into one row ("captions": [...]), or give each row an id.'
                )
                raise StructureError(
                    f"{self.file}: {seen[item]} and {row.place} have the same id {item!r}; features could not be told "
                    f"apart. {remedy}"
                )
            seen[item] = row.place
        return list(seen)

    def _text(self, row: Row, column: str) -> str:
        value = row.values.get(column, "")
        if not isinstance(value, str):
            raise StructureError(
                f"{self.file}, {row.place}: {column} is {_kind(value)}; it must be text"
                f"{' (a path to a file)' if column in ('image', 'audio') else ''}."
            )
        return value.strip() and value

    def _row_captions(self, row: Row) -> tuple[str, ...]:
        if "caption" in row.values and "captions" in row.values:
            raise StructureError(f"{self.file}, {row.place} has both caption and captions. Keep one of them.")
        given: Any = row.values.get("captions", row.values.get("caption"))
        if given is None:
            return ()
        captions = given if isinstance(given, list) and "captions" in row.values else [given]
        for caption in captions:
            if not isinstance(caption, str):
                raise StructureError(f"{self.file}, {row.place}: a caption is {_kind(caption)}; it must be text.")
            require_text(caption, what="caption", where=f"{self.file}, {row.place}")
        return tuple(caption.strip() for caption in captions)

    def _labels(self, rows: Sequence[Row], *, untyped: bool) -> tuple[tuple[str, ...], list[int | None]]:
        """Class names in order, and each row's class."""
        values = []
        for row in rows:
            try:
                values.append(class_value(row.values.get("label")))
            except ValueError as error:
                raise StructureError(f"{self.file}, {row.place}: {error}") from None
        return number_classes(values, where=str(self.file), untyped=untyped)

    def _choose(
        self, rows: Sequence[Row], ids: Sequence[str], *, split: str | None, seed: int
    ) -> tuple[str, list[int]]:
        named = [self._text(row, "split").strip() for row in rows]
        if not any(named):
            return choose(ids, split=split, seed=seed, source=str(self.file))
        if not all(named):
            bare = named.index("")
            raise StructureError(
                f"{self.file}, {rows[bare].place} has no split, and {sum(map(bool, named))} of {len(rows)} rows have "
                "one. A row that is in no split would be lost. Fill in the column, or remove it."
            )
        counts = Counter(named)
        self.splits = tuple(counts)
        asked = split if split is not None else default_split(list(counts)) or "all"
        chosen_split = pick_split(asked, counts)
        if chosen_split is None and asked != "all":
            sizes = ", ".join(f"{name} ({count} rows)" for name, count in counts.items())
            raise unknown("split", asked, [*counts, "all"], hint=f"{self.file} has {sizes}.")
        return folder_safe(chosen_split or "all"), [i for i, name in enumerate(named) if chosen_split in (None, name)]

    def _probe(self) -> None:
        """A wrong folder is wrong for every row: say so at once, not row by row."""
        probed = [path for path in self.paths if path][:PROBED]
        if probed and not any(map(os.path.exists, probed)):
            what = "audio clips" if self.signal == "audio" else "images"
            raise NotPresentError(
                f"{self.file}: none of the first {len(probed)} {what} exists, for example {probed[0]}. Paths are "
                f"relative to the folder of the file, {self.file.absolute().parent}. Place the {what} there, or "
                f"correct the column {self.signal}."
            )


class PairsKind(DatasetKind):
    """`pairs:FILE`; a relative path is looked for from the current folder, then from the data root."""

    form = "pairs:FILE.jsonl|csv|tsv|parquet"
    summary = "your own pairs; columns image, caption or captions, optional id, label, split"
    how = "write one row per image, its path relative to the file"

    def open(
        self, argument: str, *, split: str | None, data_root: Path, seed: int, with_images: bool = True
    ) -> PairsFile:
        """`with_images` as of `PairsFile`."""
        needs = "a .jsonl, .csv, .tsv or .parquet file with the columns image and caption or captions"
        path = locate(argument, data_root=data_root, kind=self.name, needs=needs)
        return PairsFile(path, split=split, seed=seed, with_images=with_images)


def _kind(value: object) -> str:
    names = {"dict": "an object", "list": "a list", "bytes": "bytes"}
    return names.get(type(value).__name__, repr(value))
