"""Datasets of the library `datasets`: a saved folder, a copy of a repository, or a name on its hub, `hf:NAME`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from structure.pipeline.datasets.class_labels import class_value, number_classes
from structure.pipeline.datasets.dataset import Dataset, Item, Task, within
from structure.pipeline.datasets.folder_splits import files_below, is_leftover
from structure.pipeline.datasets.hub_columns import COLUMN_OPTIONS, HubColumns, choose_columns
from structure.pipeline.datasets.image_files import SUFFIXES, read_file
from structure.pipeline.datasets.kind import DatasetKind
from structure.pipeline.datasets.paths import folder_safe
from structure.pipeline.datasets.spec import typed
from structure.pipeline.datasets.split_names import are_parts, called, default_split, meaning, pick_split
from structure.pipeline.datasets.splits import choose
from structure.pipeline.datasets.table_columns import NO_SPLITS
from structure.pipeline.datasets.text_cells import are_listed, listed_texts
from structure.pipeline.datasets.unread_parts import is_part
from structure.pipeline.hub_access import hub_obstacle
from structure.store.errors import BadSampleError, NotPresentError, StructureError, unknown

if TYPE_CHECKING:
    from PIL import Image


class Hub(Dataset):
    """Rows of an Arrow table saved by `datasets`, which memory-maps it.

    The image is the column of type Image; captions are the first of captions, caption, text, sentences (text, lists of
    texts, or objects with the text in one of `TEXT_FIELDS`), or else `caption_0`, `caption_1`, ...; the label is the
    first column of type ClassLabel, which brings its names. Ids are the column `id` where there is one (text or
    numbers, each once), else `<split>/<row>`. `given` names other columns.

    `source` is a name on the hub, a folder written by `save_to_disk`, or a repository's folder. A column `split` says
    which part a row belongs to, whatever the library calls the parts of the table (default train, else all rows).
    Without it splits are the source's own (default train, or the only one); a single table has `all`, or a seeded
    train, val, test. Raises `StructureError` where there is no image column, or neither captions nor labels.
    """

    def __init__(
        self,
        source: str,
        *,
        split: str | None = None,
        seed: int = 0,
        given: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        library, given = _library(), given or {}
        loaded = _load(library, source, *given.get("config", ()))
        parts: dict[str, Any] = dict(loaded) if isinstance(loaded, Mapping) else {"all": loaded}
        columns = choose_columns(library, next(iter(parts.values())).features, source, given)
        _require_known_parts(parts, columns, given, source)
        self.name = folder_safe(Path(source).name if Path(source).is_dir() else source)
        if columns.split and all(columns.split in part.features for part in parts.values()):
            table, ids, self.split, self.splits = _by_column(library, parts, columns, split, source)
        elif isinstance(loaded, Mapping):
            chosen_split, self.splits = _own_split(parts, split, source), tuple(map(str, parts))
            table, self.split = parts[chosen_split], folder_safe(chosen_split)
            columns = choose_columns(library, table.features, source, given)  # a test split may lack the labels
            ids = _ids(table, columns.id, self.split, source)
        else:
            ids = _ids(loaded, columns.id, "all", source)
            self.split, chosen = choose(ids, split=split, seed=seed, source=f"hf:{source}")
            ids, table = [ids[index] for index in chosen], loaded.select(chosen)
        self.ids, self.notes = tuple(ids), columns.notes
        self.kind = "retrieval" if columns.captions else "classification"
        self.tasks, numbers = _classes(library, parts, columns, source)
        self._images = table.select_columns([columns.image]).cast_column(columns.image, library.Image(decode=False))
        self._texts = table.select_columns(list(columns.texts))
        self._columns, self._numbers = columns, numbers
        self._are_lists = _are_lists(table, columns)
        if self._are_lists:
            self.notes += (f"captions of the column {columns.captions[0][0]} are lists written as text, read as lists",)

    def __len__(self) -> int:
        return len(self.ids)

    def item(self, index: int) -> Item:
        row = self._texts[within(index, len(self))]
        captions: tuple[str, ...] = ()
        if self._columns.captions:
            texts = self._columns.captions_of(row)
            if self._are_lists:
                texts = [text for cell in texts for text in listed_texts(cell) or ()]
            captions = tuple(text.strip() if isinstance(text, str) else "" for text in texts)
            if not captions or not all(captions):
                reason = "an empty caption, or one that is not text" if captions else "no caption"
                named = ", ".join(name for name, _ in self._columns.captions)
                raise BadSampleError(self.ids[index], f"{self.name}, row {index}: {reason} in column {named}")
        # The library writes -1 (or nothing) where a row of a test split has no label.
        value = row[self._columns.label] if self._columns.label else None
        number = value if self._numbers is None else self._numbers.get(value)
        return Item(self.ids[index], captions, {} if number is None or number < 0 else {"label": int(number)})

    def payload(self, index: int) -> bytes:
        cell = self._images[within(index, len(self))][self._columns.image]
        if cell is None:
            raise BadSampleError(self.ids[index], f"{self.name}, row {index} has no image")
        data: bytes | None = cell["bytes"]
        return read_file(cell["path"], item=self.ids[index]) if data is None else data

    def image(self, index: int) -> Image.Image:
        from structure.pipeline.datasets.decode_image import decode

        return decode(self.payload(index), item=self.ids[index], source=f"{self.name}, row {index}", pixels=self.pixels)


class HubKind(DatasetKind):
    """`hf:NAME`: a folder (from the current folder, else the data root), else a name on the hub."""

    form = "hf:NAME"
    summary = "a folder of the library datasets (saved, or a repository's), or a name on its hub"
    how = 'pip install "structure-align[hub]"'
    splits = ("train", "validation", "test")
    default_split = "train"
    options: Mapping[str, str] = {**COLUMN_OPTIONS, "config": "which of the configurations of the data"}

    def open(self, argument: str, *, split: str | None, data_root: Path, seed: int) -> Hub:
        saved = next((path for path in (Path(argument), data_root / argument) if path.is_dir()), None)
        return Hub(str(saved) if saved else argument, split=split, seed=seed, given=self.given)


def _library() -> ModuleType:
    try:
        import datasets
    except ImportError:
        raise NotPresentError(
            'hf: needs the package datasets, which is not installed. Type: pip install "structure-align[hub]"'
        ) from None
    library: ModuleType = datasets
    return library


def _load(library: ModuleType, source: str, *config: str) -> Any:
    folder = Path(source)
    if folder.is_dir():
        saved = any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))
        try:
            with _quiet(library):
                return library.load_from_disk(source) if saved else _load_repository(library, folder, *config)
        except StructureError:
            raise
        except Exception as error:  # what a foreign or damaged folder raises differs by version
            raise StructureError(
                f"{folder.absolute()} is not a folder that the library datasets saved, nor a repository's with a file "
                f"of data: {error}. Write it with save_to_disk, or name it folder:DIR or pairs:FILE."
            ) from error
    obstacle = hub_obstacle()
    try:
        with _offline(library) if obstacle else nullcontext():
            return library.load_dataset(source, *config)
    except Exception as error:  # a name that is not there, a gated one and a broken download differ by version
        why = obstacle or f"{type(error).__name__}: {error}"
        raise NotPresentError(
            f"Dataset hf:{source} is not here: neither a folder ({Path(source).absolute()}) nor in the cache of the "
            f"library datasets, and the hub cannot give it: {why}. Where there is a network, load it once, write it "
            "with save_to_disk, and name that folder."
        ) from error


def _load_repository(library: ModuleType, folder: Path, *config: str) -> Any:
    """The data of a repository's folder. Which file belongs to which split the library guesses from words in names,
    unless README.md says it; refused where that leaves files out, or puts those of one split into another."""
    builder = library.load_dataset_builder(str(folder), *config)
    readme = folder / "README.md"
    if not (readme.is_file() and "data_files" in readme.read_text(encoding="utf-8", errors="replace")):
        parts = {str(split): [Path(file) for file in files] for split, files in builder.config.data_files.items()}
        _require_whole(folder, parts)
    return library.load_dataset(str(folder), *config)


def _require_whole(folder: Path, parts: Mapping[str, Sequence[Path]]) -> None:
    taken = {file.absolute() for files in parts.values() for file in files}
    endings = {file.suffix.lower() for file in taken}
    every = [file for file in files_below(folder) if file.suffix.lower() in endings]
    every = [file for file in every if not any(map(is_leftover, file.relative_to(folder).parts))]
    left = [file for file in every if file.absolute() not in taken]
    wrong = [
        (split, file.relative_to(folder.absolute()))
        for split, files in parts.items()
        for file in files
        if {meaning(part) for part in file.absolute().relative_to(folder.absolute()).parts} - {None, meaning(split)}
    ]
    images = "type folder:{0} for images in class folders, or " if endings & SUFFIXES else ""
    remedy = (images + "say in its README.md which file belongs to which split (configs: data_files)").format(folder)
    if left:
        raise StructureError(
            f"{folder}: the library datasets takes splits from words in names, and leaves out {len(left)} of "
            f"{len(every)} files, the first is {left[0].relative_to(folder)}. To have all, {remedy}."
        )
    if wrong:
        split, file = wrong[0]
        raise StructureError(
            f"{folder}: the library datasets takes splits from words in names, and puts {len(wrong)} files of another "
            f"split into {split}, the first is {file}: images would be held out wrongly. For other splits, "
            f"{remedy}."
        )


@contextmanager
def _quiet(library: ModuleType) -> Iterator[None]:
    """Without the library's progress bars: reading a folder of Parquet fills its cache once."""
    shown = library.are_progress_bars_disabled()
    library.disable_progress_bars()
    try:
        yield
    finally:
        if not shown:
            library.enable_progress_bars()


@contextmanager
def _offline(library: ModuleType) -> Iterator[None]:
    """The cache alone: left to itself the library asks a hub out of reach again and again, for half a minute."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, library.config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = library.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, library.config.HF_HUB_OFFLINE = before


def _own_split(parts: Mapping[str, Any], split: str | None, source: str) -> str:
    if split is None:
        usual = default_split(list(parts)) or (next(iter(parts)) if len(parts) == 1 else None)
        if usual is None:
            raise StructureError(
                f"hf:{source} has the splits {', '.join(parts)}, of which none is for training. Say which: --split "
                f"{next(iter(parts))}."
            )
        return usual
    found = pick_split(split, parts)
    if found is None:
        raise unknown("split", split, list(parts), hint=f"These are the splits of hf:{source}.")
    return found


def _require_known_parts(
    parts: Mapping[str, Any], columns: HubColumns, given: Mapping[str, tuple[str, ...]], source: str
) -> None:
    """Raises `StructureError` for a column that says which rows are held out under another name than split."""
    if columns.split is not None or "split" in given:
        return
    used = {columns.image, columns.id, *columns.texts}
    for name, feature in next(iter(parts.values())).features.items():
        names = getattr(feature, "names", None)
        spec = f"hf:{source}?{''.join(f'{key}={one}&' for key, values in given.items() for one in values)}"
        if name.strip().casefold() == "split":
            raise StructureError(
                f"hf:{source}: the cells of {name} are no text ({feature}), so that it is not known whether they say "
                f"what is held out. Type {typed(f'{spec}split={name}')} if they do, else "
                f"{typed(f'{spec}split={NO_SPLITS}')}."
            )
        if name in used or not (names or getattr(feature, "dtype", "") in ("string", "large_string")):
            continue
        tables = [part.select_columns([name]) for part in parts.values() if name in part.features and len(part)]
        first = [table[0][name] for table in tables]
        if not names and not all(is_part(cell) for cell in first):
            continue
        words = set(names or ()) or {cell for table in tables for cell in table.unique(name) if cell}
        if are_parts(words):
            raise StructureError(
                f"hf:{source}: the column {name} holds {', '.join(sorted(words))}, which are names of splits, and is "
                f"not called split: rows could be held out wrongly. Type {typed(f'{spec}split={name}')}, or "
                f"{typed(f'{spec}split={NO_SPLITS}')} if it says something else."
            )


def _are_lists(table: Any, columns: HubColumns) -> bool:
    """Whether every caption is a list written as text."""
    name = columns.captions[0][0] if len(columns.captions) == 1 else None
    if name is None or not len(table) or listed_texts(table[0][name]) is None:
        return False
    return are_listed(table.select_columns([name])[:][name])


def _by_column(
    library: ModuleType, parts: Mapping[str, Any], columns: HubColumns, split: str | None, source: str
) -> tuple[Any, list[str], str, tuple[str, ...]]:
    """The rows of the part that the split column says, their ids, its name and the names of all parts."""
    assert columns.split is not None
    ids = [name for called, part in parts.items() for name in _ids(part, columns.id, folder_safe(called), source)]
    if len(set(ids)) != len(ids):
        raise StructureError(f"hf:{source} has the id {_twice(ids)!r} twice; features could not be told apart.")
    table = library.concatenate_datasets(list(parts.values())) if len(parts) > 1 else next(iter(parts.values()))
    feature = table.features[columns.split]
    cells = table.select_columns([columns.split])[:][columns.split]
    names = getattr(feature, "names", None)
    said = ["" if cell is None or (names and cell == -1) else str(names[cell] if names else cell) for cell in cells]
    named = [name.strip() for name in said]
    if not all(named):
        raise StructureError(
            f"hf:{source}: row {named.index('')} has no {columns.split}, and {sum(map(bool, named))} of {len(named)} "
            "rows have one. A row that is in no split would be lost. Fill in the column, or remove it."
        )
    named = called(named, where=f"The column {columns.split} of hf:{source}")
    counts = Counter(named)
    asked = split if split is not None else default_split(list(counts)) or "all"
    chosen_split = pick_split(asked, counts)
    if chosen_split is None and asked != "all":
        sizes = ", ".join(f"{name} ({count} rows)" for name, count in counts.items())
        raise unknown("split", asked, [*counts, "all"], hint=f"The column {columns.split} of hf:{source} has {sizes}.")
    rows = [row for row, name in enumerate(named) if chosen_split in (None, name)]
    return table.select(rows), [ids[row] for row in rows], folder_safe(chosen_split or "all"), tuple(counts)


def _classes(
    library: ModuleType, parts: Mapping[str, Any], columns: HubColumns, source: str
) -> tuple[dict[str, Task], dict[Any, int | None] | None]:
    """The task `label`, and the number of each value of its column where the column brings no names."""
    if columns.label is None:
        return {}, None
    labelled = [part for part in parts.values() if columns.label in part.features]
    feature = labelled[0].features[columns.label]
    if isinstance(feature, library.ClassLabel):
        return {"label": Task(tuple(feature.names), source=f"hf:{source}")}, None
    given = [value for part in labelled for value in part.select_columns([columns.label])[:][columns.label]]
    where = f"column {columns.label} of hf:{source}"
    try:
        classes, numbers = number_classes([class_value(value) for value in given], where=where)
    except ValueError as error:
        raise StructureError(f"{where}: {error}") from None
    return {"label": Task(classes, source=where)}, dict(zip(given, numbers, strict=True))


def _ids(table: Any, column: str | None, split: str, source: str) -> list[str]:
    if column is None:
        return [f"{split}/{row}" for row in range(len(table))]
    ids: Sequence[Any] = table.select_columns([column])[:][column]
    if None in ids:
        raise StructureError(
            f"hf:{source}: row {ids.index(None)} of {split} has no {column}, which names the samples. Fill in the "
            f"column, or name another: {typed(f'hf:{source}?id=COLUMN')}."
        )
    texts = [str(item) for item in ids]
    if len(set(texts)) != len(texts):
        raise StructureError(
            f"hf:{source} has the id {_twice(texts)!r} twice in {split}; features could not be told apart."
        )
    return texts


def _twice(ids: Sequence[str]) -> str:
    return next(name for name, count in Counter(ids).items() if count > 1)
