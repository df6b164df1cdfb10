"""Image-caption pairs from a table of the user's own: `pairs:FILE.jsonl|csv|tsv|parquet|json`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from structure.pipeline.datasets.class_labels import number_label_sets, odd_classes
from structure.pipeline.datasets.dataset import AudioClip, Item, Task, within
from structure.pipeline.datasets.decode_audio import decode_audio
from structure.pipeline.datasets.image_files import VISUAL_SUFFIXES, ImageFiles
from structure.pipeline.datasets.kind import DatasetKind
from structure.pipeline.datasets.paths import folder_safe, locate
from structure.pipeline.datasets.split_names import called, default_split, pick_split
from structure.pipeline.datasets.splits import choose
from structure.pipeline.datasets.table_columns import COLUMN_OPTIONS, NO_SPLITS, TableColumns
from structure.pipeline.datasets.table_hints import (
    caption_hint,
    ending_of,
    folder_with,
    image_hint,
    label_hint,
    spelled,
)
from structure.pipeline.datasets.table_pairs import Pair, read_pairs
from structure.pipeline.datasets.table_rows import PairsTable, TableForm, at_place, read_table, require_readable
from structure.store.errors import BadSampleError, NotPresentError, StructureError, unknown

if TYPE_CHECKING:
    from PIL import Image

PROBED = 8
SIGNALS = ("image", "audio", "video")
"""The columns that name a file each; the first of them that a table has is read."""
WHAT = {"image": "an image", "audio": "an audio clip", "video": "a video"}

Given = Mapping[str, tuple[str, ...]]


class PairsFile(ImageFiles):
    """One sample per image of a JSON Lines, CSV, TSV, Parquet or JSON file.

    Columns: `image` (which may name videos too), `video`, or `audio` for audio clips (a path relative to the file's
    folder, or absolute: the file is the user's own and may name any file that the user can read), `caption` (text) or
    `captions` (a list of texts), optional `id`, `label` and `split`; other columns are left unread. `given` names
    other columns, and how the file is written. Captions lose white space at their ends. Rows of the same image are
    one sample with all their captions, unless they have ids of their own; then they are of one split all the same.

    - Ids: `id`, or else `image` as written. An id that appears with two images is an error.
    - Labels: names, numbered in sorted order, or whole numbers, numbered in numeric order, over the whole file, so
      that every split agrees. They are the task `label`. A list of them is of a sample with several classes (or none).
    - Splits: with a column `split` its values (default `train` where there is one, else all); every row must then
      have one. Without the column, `all` (default), or `train`, `val`, `test` by a seeded hash of the id: 80, 10, 10
      per cent; adding rows moves no other row. `all` takes every row either way.

    With `with_images=False` nobody will read an image (features are there already): the column and the files may be
    absent, and a sample has a digest only where its file is there.

    A row that cannot be read, one without caption (where others have one), with an empty caption, or without image,
    raises `BadSampleError` when it is read. Raises `StructureError` for everything that concerns the table, with the
    line.
    """

    def __init__(
        self,
        file: str | Path,
        *,
        split: str | None = None,
        seed: int = 0,
        with_images: bool = True,
        given: Given | None = None,
    ) -> None:
        self.file, self.with_images, self.given = Path(file), with_images, given or {}
        self.checks_pixels = with_images
        columns = TableColumns({name: self.given[name] for name in COLUMN_OPTIONS if name in self.given})
        form = TableForm(**{name: self.given[name][-1] for name in ("sep", "encoding") if name in self.given})
        table = read_table(self.file, columns, form)
        columns.require(table.names, file=self.file)
        meanings = columns.meanings(table.names)
        self.name = folder_safe(self.file.absolute().parent.name if self.file.stem == "pairs" else self.file.stem)
        self.signal = next((signal for signal in SIGNALS if signal in meanings), "image")
        self._require_columns(table, meanings)
        self._require_known_parts(table, meanings)
        self.has_captions = bool({"caption", "captions"} & set(meanings))
        self.kind = "retrieval" if self.has_captions else "classification"
        read = read_pairs(self.file, table.rows, signal=self.signal)
        require_readable(self.file, [(pair.place, pair.problem) for pair in read.pairs])
        untyped = self.file.suffix.lower() in (".csv", ".tsv")
        labels = [pair.label for pair in read.pairs]
        classes, numbers = number_label_sets(labels, where=str(self.file), untyped=untyped)
        if any(isinstance(number, tuple) for number in numbers):
            self.kind = "multilabel"
        self.tasks = {"label": Task(classes, source=f"column label of {self.file.name}")} if classes else {}
        self.notes = (*read.notes, *odd_classes(classes))
        paths = self._located([pair.path for pair in read.pairs])
        self.split, chosen = self._choose(read.pairs, split=split, seed=seed)
        self._pairs = [read.pairs[index] for index in chosen]
        self._labels_of = [numbers[index] for index in chosen]
        super().__init__([pair.id for pair in self._pairs], [paths[index] for index in chosen])

    def item(self, index: int) -> Item:
        """Raises `BadSampleError` for a row that cannot be read, and for one without image, without caption, or with an
        empty one."""
        pair = self._pairs[within(index, len(self))]
        if pair.problem:
            raise self._bad(index, pair.problem)
        if self.with_images and not pair.path:
            raise self._bad(index, f"a caption without {self.signal}: the column {self.signal} is empty")
        if self.has_captions and not pair.captions:
            raise self._bad(index, f"{WHAT[self.signal]} without caption")
        for number, caption in enumerate(pair.captions, start=1):
            if not caption:
                which = "its caption" if len(pair.captions) == 1 else f"caption {number} of {len(pair.captions)}"
                raise self._bad(index, f"{which} is empty")
        label = self._labels_of[index]
        return Item(pair.id, pair.captions, {} if label is None else {"label": label})

    def payload(self, index: int) -> bytes:
        pair = self._pairs[within(index, len(self))]
        if not pair.path:
            raise self._bad(
                index, pair.problem or f"a caption without {self.signal}: the column {self.signal} is empty"
            )
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
        if self.signal != "audio":
            return super().audio(index)
        return decode_audio(self.payload(index), item=self.ids[index], source=self.paths[index])

    def _bad(self, index: int, reason: str) -> BadSampleError:
        return BadSampleError(self.ids[index], f"{self.file}, {at_place(self._pairs[index].place, reason)}")

    def _require_columns(self, table: PairsTable, meanings: Mapping[str, Sequence[str]]) -> None:
        if not {*SIGNALS, "caption", "captions", "label"} & set(meanings):
            headless = [name for name in table.names if Path(name).suffix.lower() in VISUAL_SUFFIXES]
            if headless:
                raise StructureError(
                    f"{self.file} has no line with the names of its columns: its first line holds {headless[0]}. "
                    "Write a first line such as image,caption."
                )
        more: dict[str, str] = {}
        lacks_image = self.with_images and self.signal not in meanings
        lacks_text = not {"caption", "captions", "label"} & set(meanings)
        if lacks_image:
            more |= image_hint(table.first, table.names, self.file.parent)
        if lacks_text:
            used = {*more.values(), *(name for columns in meanings.values() for name in columns)}
            more |= caption_hint(table.first, table.names, used)
        said = f"its columns are {', '.join(table.names)}."
        typed = f" Did you mean {' and '.join(v for k, v in more.items() if k != 'ending')}? Type " if more else ""
        typed += f"{spelled(self.file, self.given, more)}." if more else ""
        if lacks_image:
            offer = (
                typed
                if "image" in more
                else (
                    " Call the column with the paths of the images image (or video, or audio), or say which it "
                    f"is: {spelled(self.file, self.given, {'image': 'COLUMN'})}; the first line of a CSV names them."
                )
            )
            raise StructureError(f"{self.file} has no column image; {said}{offer}")
        if lacks_text:
            offer = (
                typed
                if "caption" in more
                else (
                    " Call the column with the texts caption, or say which it is: "
                    f"{spelled(self.file, self.given, {'caption': 'COLUMN'})}."
                )
            )
            label = spelled(self.file, self.given, {"label": label_hint(table.names) or "COLUMN"})
            raise StructureError(
                f"{self.file} has neither caption, captions nor label; {said} A pair needs a text.{offer} For images "
                f"with classes and without texts type {label}, or use folder:DIR."
            )

    def _require_known_parts(self, table: PairsTable, meanings: Mapping[str, Sequence[str]]) -> None:
        """Raises `StructureError` for a column that says which rows are held out under another name than split."""
        if "split" in meanings or "split" in self.given or not table.unread_parts:
            return
        name, words = next(iter(table.unread_parts.items()))
        raise StructureError(
            f"{self.file}: the column {name} holds {', '.join(sorted(words))}, which are names of splits, and is not "
            f"called split: rows could be held out wrongly. Type {spelled(self.file, self.given, {'split': name})}, or "
            f"{spelled(self.file, self.given, {'split': NO_SPLITS})} if it says something else."
        )

    def _choose(self, pairs: Sequence[Pair], *, split: str | None, seed: int) -> tuple[str, list[int]]:
        said = [pair.split for pair in pairs if pair.split]
        splits = dict(zip(said, called(said, where=f"{self.file}, the column of splits,"), strict=True))
        counts = Counter(splits[name] for name in said)
        if not counts:
            images = Counter(os.path.normpath(pair.path) for pair in pairs if pair.path)
            # One image under two ids is drawn into one split.
            paths = [os.path.normpath(pair.path or "?") for pair in pairs]
            drawn = [path if images[path] > 1 else pair.id for path, pair in zip(paths, pairs, strict=True)]
            return choose(drawn, split=split, seed=seed, source=str(self.file))
        bare = [pair for pair in pairs if not pair.split and not pair.problem]
        if bare:
            raise StructureError(
                f"{self.file}, {bare[0].place} has no split, and {counts.total()} of {len(pairs)} rows have one. A row "
                "that is in no split would be lost. Fill in the column, or remove it."
            )
        self.splits = tuple(counts)
        usual = default_split(list(counts))
        asked = split if split is not None else usual or "all"
        chosen_split = pick_split(asked, counts)
        if chosen_split is None and asked != "all":
            sizes = ", ".join(f"{name} ({count} rows)" for name, count in counts.items())
            raise unknown("split", asked, [*counts, "all"], hint=f"{self.file} has {sizes}.")
        # A row that cannot be read does not say its split either: it is listed with the one that is opened by default.
        of = [splits.get(pair.split) or usual or next(iter(counts)) for pair in pairs]
        return folder_safe(chosen_split or "all"), [i for i, name in enumerate(of) if chosen_split in (None, name)]

    def _located(self, written: Sequence[str]) -> tuple[str, ...]:
        """The files that the paths lead to. A wrong folder is wrong for every row: say so at once, not row by row."""
        folder = self.file.parent / self.given["images"][-1] if "images" in self.given else self.file.parent
        ending = self.given["ending"][-1] if "ending" in self.given else ""
        written = [f"{path}{ending}" if path else "" for path in written]
        paths = [os.path.join(folder, path) if path else "" for path in written]
        turned = stripped = 0
        for index, (path, name) in enumerate(zip(paths, written, strict=True)):
            bare = os.path.join(folder, name.strip()) if name else ""
            straight = bare.replace("\\", "/")
            if straight == path or os.path.exists(path):
                continue
            found = next((other for other in (bare, straight) if os.path.exists(other)), path)
            turned += found not in (path, bare)
            stripped += found != path and name != name.strip()
            paths[index] = found
        if turned:
            self.notes += (f"{turned} paths are written with backslashes, as on Windows, and read with /",)
        if stripped:
            self.notes += (f"{stripped} paths have white space around them and are read without",)
        probed = [(path, name) for path, name in zip(paths, written, strict=True) if path][:PROBED]
        if not self.with_images or not probed or any(os.path.exists(path) for path, _ in probed):
            return tuple(paths)
        inside = folder_with([name for _, name in probed], folder) if folder.is_dir() else ""
        if inside and self.file.suffix.lower() == ".json":  # such files name no folder
            return tuple(os.path.join(folder, inside, name) if name else "" for name in written)
        raise self._none_there(folder, probed, inside)

    def _none_there(self, folder: Path, probed: Sequence[tuple[str, str]], inside: str) -> NotPresentError:
        what = {"image": "images", "audio": "audio clips", "video": "videos"}[self.signal]
        if probed[0][1].startswith(("http://", "https://")):
            return NotPresentError(
                f"{self.file}: the column {self.signal} holds web addresses, for example {probed[0][1]}; nothing is "
                f"fetched from there. Download the {what} and write their paths into the column, or open what "
                "img2dataset writes with wds:FOLDER."
            )
        ending = ending_of([name for _, name in probed], folder)
        more = {"images": inside} if inside else {"ending": ending} if ending else {}
        hint = (
            f" They are there with {next(iter(more.values()))}: type {spelled(self.file, self.given, more)}."
            if more
            else (
                f" Place the {what} there, correct the column {self.signal}, or say where they lie: "
                f"{spelled(self.file, self.given, {'images': 'FOLDER'})}."
            )
        )
        return NotPresentError(
            f"{self.file}: none of the first {len(probed)} {what} exists, for example {probed[0][0]}. Paths are "
            f"relative to the folder of the file, {folder.absolute()}.{hint}"
        )


class PairsKind(DatasetKind):
    """`pairs:FILE`; a relative path is looked for from the current folder, then from the data root."""

    form = "pairs:FILE.jsonl|csv|tsv|parquet|json"
    summary = "your own pairs; columns image, caption or captions, optional id, label, split"
    how = "write one row per image, its path relative to the file"
    options: Mapping[str, str] = {
        **COLUMN_OPTIONS,
        "sep": "what separates the cells of a CSV file: ; or | or tab",
        "encoding": "how the file is written, such as cp1252 or utf-16",
        "images": "the folder of the images, relative to the file",
        "ending": "what the paths lack at their end, such as .jpg",
    }

    def open(
        self, argument: str, *, split: str | None, data_root: Path, seed: int, with_images: bool = True
    ) -> PairsFile:
        """`with_images` as of `PairsFile`."""
        needs = "a .jsonl, .csv, .tsv, .parquet or .json file with the columns image and caption or captions"
        path = locate(argument, data_root=data_root, kind=self.name, needs=needs)
        return PairsFile(path, split=split, seed=seed, with_images=with_images, given=self.given)
