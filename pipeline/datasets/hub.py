"""Datasets of the library `datasets`: a saved folder or a name on its hub, `hf:NAME`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from structure.pipeline.datasets.dataset import Dataset, Item, Task, within
from structure.pipeline.datasets.image_files import read_file
from structure.pipeline.datasets.kind import DatasetKind
from structure.pipeline.datasets.paths import folder_safe
from structure.pipeline.datasets.splits import choose
from structure.pipeline.hub_access import hub_obstacle
from structure.store.errors import BadSampleError, NotPresentError, StructureError, unknown

if TYPE_CHECKING:
    from PIL import Image

"""How long the hub may take to answer before a name counts as out of reach."""

CAPTION_COLUMNS = ("captions", "caption", "text", "sentences")


class Hub(Dataset):
    """Rows of an Arrow table saved by `datasets`, which memory-maps it.

    The image is the column of type Image; captions are the first of captions, caption, text, sentences (text or a
    list of texts); the label is the first column of type ClassLabel, which brings its names. Ids are the column `id`
    where there is one (text or numbers, each once), else `<split>/<row>`.

    `source` is a name on the hub, or a folder written by `save_to_disk`. Splits are the source's own (default train,
    or the only one); a single table has `all`, or a seeded train, val, test.
    Raises `StructureError` where there is no image column, or neither captions nor labels.
    """

    def __init__(self, source: str, *, split: str | None = None, seed: int = 0) -> None:
        library = _library()
        loaded = _load(library, source)
        if isinstance(loaded, Mapping):
            self.splits = tuple(map(str, loaded))
            chosen_split = (
                split if split is not None else "train" if "train" in loaded or len(loaded) != 1 else next(iter(loaded))
            )
            if chosen_split not in loaded:
                raise unknown("split", chosen_split, list(loaded), hint=f"These are the splits of hf:{source}.")
            table, self.split = loaded[chosen_split], folder_safe(chosen_split)
        else:
            table, self.split = loaded, "all"
        image, caption, label = _columns(library, table, source)
        self.name = folder_safe(Path(source).name if Path(source).is_dir() else source)
        self.kind = "retrieval" if caption else "classification"
        self.tasks = {"label": Task(tuple(table.features[label].names), source=f"hf:{source}")} if label else {}
        ids = _ids(table, self.split, source)
        if not isinstance(loaded, Mapping):
            self.split, chosen = choose(ids, split=split, seed=seed, source=f"hf:{source}")
            ids = [ids[index] for index in chosen]
            table = table.select(chosen)
        self.ids = tuple(ids)
        self._images = table.select_columns([image]).cast_column(image, library.Image(decode=False))
        self._texts = table.select_columns([name for name in (caption, label) if name])
        self._columns = image, caption, label

    def __len__(self) -> int:
        return len(self.ids)

    def item(self, index: int) -> Item:
        row = self._texts[within(index, len(self))]
        _, caption, label = self._columns
        captions: tuple[str, ...] = ()
        if caption:
            given = row[caption]
            texts = [given] if isinstance(given, str) else list(given or ())
            captions = tuple(text.strip() if isinstance(text, str) else "" for text in texts)
            if not captions or not all(captions):
                reason = "an empty caption, or one that is not text" if captions else "no caption"
                raise BadSampleError(self.ids[index], f"{self.name}, row {index}: {reason} in column {caption}")
        # The library writes -1 (or nothing) where a row of a test split has no label.
        value = row[label] if label else None
        return Item(self.ids[index], captions, {} if value is None or value < 0 else {"label": int(value)})

    def payload(self, index: int) -> bytes:
        cell = self._images[within(index, len(self))][self._columns[0]]
        if cell is None:
            raise BadSampleError(self.ids[index], f"{self.name}, row {index} has no image")
        data: bytes | None = cell["bytes"]
        return read_file(cell["path"], item=self.ids[index]) if data is None else data

    def image(self, index: int) -> Image.Image:
        from structure.pipeline.datasets.decode_image import decode

        return decode(self.payload(index), item=self.ids[index], source=f"{self.name}, row {index}")


class HubKind(DatasetKind):
    """`hf:NAME`: a saved folder (from the current folder, else the data root), else a name on the hub."""

    form = "hf:NAME"
    summary = "a folder saved by the library datasets, or a name on its hub"
    how = 'pip install "structure-align[hub]"'
    splits = ("train", "validation", "test")
    default_split = "train"

    def open(self, argument: str, *, split: str | None, data_root: Path, seed: int) -> Hub:
        saved = next((path for path in (Path(argument), data_root / argument) if path.is_dir()), None)
        return Hub(str(saved) if saved else argument, split=split, seed=seed)


def _library() -> ModuleType:
    try:
        import datasets
    except ImportError:
        raise NotPresentError(
            'hf: needs the package datasets, which is not installed. Type: pip install "structure-align[hub]"'
        ) from None
    library: ModuleType = datasets
    return library


def _load(library: ModuleType, source: str) -> Any:
    if Path(source).is_dir():
        try:
            return library.load_from_disk(source)
        except Exception as error:  # what a foreign or damaged folder raises differs by version
            raise StructureError(
                f"{Path(source).absolute()} is not a folder that the library datasets saved: {error}. Write it with "
                "save_to_disk, or name it folder:DIR or pairs:FILE."
            ) from error
    obstacle = hub_obstacle()
    try:
        with _offline(library) if obstacle else nullcontext():
            return library.load_dataset(source)
    except Exception as error:  # a name that is not there, a gated one and a broken download differ by version
        why = obstacle or f"{type(error).__name__}: {error}"
        raise NotPresentError(
            f"Dataset hf:{source} is not here: neither a folder ({Path(source).absolute()}) nor in the cache of the "
            f"library datasets, and the hub cannot give it: {why}. Where there is a network, load it once, write it "
            "with save_to_disk, and name that folder."
        ) from error


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


def _columns(library: ModuleType, table: Any, source: str) -> tuple[str, str | None, str | None]:
    features: Mapping[str, Any] = table.features
    names = ", ".join(features)
    images = [name for name, feature in features.items() if isinstance(feature, library.Image)]
    if len(images) != 1:
        raise StructureError(
            f"hf:{source} has {len(images)} columns of type Image, and one is needed; its columns are {names}. Cast "
            "or drop columns, save it with save_to_disk, and name that folder."
        )
    caption = next((name for name in CAPTION_COLUMNS if name in features and name not in images), None)
    label = next((name for name, feature in features.items() if isinstance(feature, library.ClassLabel)), None)
    if caption is None and label is None:
        raise StructureError(
            f"hf:{source} has no captions ({', '.join(CAPTION_COLUMNS)}) and no column of type ClassLabel; its "
            f"columns are {names}. Rename the column with the texts to captions."
        )
    return images[0], caption, label


def _ids(table: Any, split: str, source: str) -> list[str]:
    if "id" not in table.features:
        return [f"{split}/{row}" for row in range(len(table))]
    ids: Sequence[Any] = table.select_columns(["id"])[:]["id"]
    texts = [str(item) for item in ids]
    if len(set(texts)) != len(texts):
        seen: set[str] = set()
        twice = next(item for item in texts if item in seen or seen.add(item))  # type: ignore[func-returns-value]
        raise StructureError(f"hf:{source} has the id {twice!r} twice in {split}; features could not be told apart.")
    return texts
