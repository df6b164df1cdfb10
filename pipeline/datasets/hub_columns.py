"""Which columns of a table of the library `datasets` are image, captions, label, id and split."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from structure.pipeline.datasets.spec import typed
from structure.pipeline.datasets.table_columns import NO_SPLITS
from structure.pipeline.datasets.text_cells import TEXT_FIELDS, texts_in
from structure.store.errors import StructureError, unknown

CAPTION_COLUMNS = ("captions", "caption", "text", "sentences")

COLUMN_OPTIONS = {
    "image": "the column with the images",
    "caption": "the column with the texts; repeat it for several; column.field for the field of an object",
    "label": "the column with the classes: of type ClassLabel, text or whole numbers",
    "id": "the column that names the samples",
    "split": "the column that says which part a row belongs to; none: no column does",
}


@dataclass(frozen=True)
class HubColumns:
    """`captions` are (column, field of its objects or ""); `notes` tell of a choice among several."""

    image: str
    captions: tuple[tuple[str, str], ...] = ()
    label: str | None = None
    id: str | None = None
    split: str | None = None
    notes: tuple[str, ...] = ()
    texts: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        named = dict.fromkeys([*(name for name, _ in self.captions), *filter(None, (self.label,))])
        object.__setattr__(self, "texts", tuple(named))

    def captions_of(self, row: Mapping[str, Any]) -> list[Any]:
        """The captions of a row, one a text; what is no text stands as it is."""
        return [text for name, inner in self.captions for text in texts_in(row[name], inner)]


def choose_columns(
    library: ModuleType, features: Mapping[str, Any], source: str, given: Mapping[str, tuple[str, ...]]
) -> HubColumns:
    """The columns that `given` names, and else those of the usual names and types.

    Raises `StructureError` where there is no image column, neither captions nor labels, an object without a text, or
    no column of a name that was given.
    """
    for option, names in given.items():
        for name in names:
            column = name if name in features else name.partition(".")[0]
            if (option, name) != ("split", NO_SPLITS) and option in COLUMN_OPTIONS and column not in features:
                raise unknown("column", name, features, hint=f"It is given as {option}= of hf:{source}.")
    once = {option: names[-1] for option, names in given.items()}
    image = once.get("image") or _image(library, features, source)
    notes: list[str] = []
    if "caption" in given:
        captions = tuple(
            (name, "") if name in features else (name.partition(".")[0], name.partition(".")[2])
            for name in given["caption"]
        )
    else:
        usual = [name for name in CAPTION_COLUMNS if name in features and name != image]
        captions = tuple((name, "") for name in usual[:1] or _numbered(features))
        if len(usual) > 1:
            notes.append(f"captions are those of the column {usual[0]}; {', '.join(usual[1:])} not read (?caption=)")
    captions = tuple((name, inner or _field(features[name], name, source)) for name, inner in captions)
    labels = [
        name
        for name, feature in features.items()
        if isinstance(feature, library.ClassLabel) and name.strip().casefold() != "split"
    ]
    label = once.get("label") or next(iter(labels), None)
    if len(labels) > 1 and "label" not in once:
        notes.append(f"classes are those of the column {label}; {', '.join(labels[1:])} not read (?label=)")
    if not captions and label is None:
        columns = ", ".join(features)
        raise StructureError(
            f"hf:{source} has no captions ({', '.join(CAPTION_COLUMNS)}) and no column of type ClassLabel; its "
            f"columns are {columns}. Name the column: {typed(f'hf:{source}?caption=COLUMN')}, or '?label=COLUMN' for "
            "classes."
        )
    split = once.get("split") or next((name for name in features if _says_split(library, name, features[name])), None)
    split = split if split in features else None  # "none": no column does
    return HubColumns(
        image, captions, label, once.get("id") or ("id" if "id" in features else None), split, tuple(notes)
    )


def is_image(library: ModuleType, feature: Any) -> bool:
    """Whether a column holds images: of that type, or objects of bytes and path as Parquet without types has them."""
    return isinstance(feature, library.Image) or (isinstance(feature, dict) and set(feature) == {"bytes", "path"})


def _image(library: ModuleType, features: Mapping[str, Any], source: str) -> str:
    images = [name for name, feature in features.items() if is_image(library, feature)]
    if len(images) == 1:
        return images[0]
    which = f"; say which: {typed(f'hf:{source}?image={images[0]}')}" if images else ""
    raise StructureError(
        f"hf:{source} has {len(images)} columns of type Image, and one is needed{which}; its columns are "
        f"{', '.join(features)}. Or cast or drop columns, save it with save_to_disk, and name that folder."
    )


def _numbered(features: Mapping[str, Any]) -> list[str]:
    """`caption_0`, `caption_1`, ... in the order of their numbers."""
    matched = [found for name in features if (found := re.fullmatch(r"(?:captions?|sentences?)_?([0-9]+)", name))]
    return [found[0] for found in sorted(matched, key=lambda found: int(found[1]))]


def _field(feature: Any, name: str, source: str) -> str:
    """The field with the text, where cells are objects (or lists of them); "" where they are text."""
    inner = feature
    while not isinstance(inner, dict):
        below = inner[0] if isinstance(inner, list) and inner else getattr(inner, "feature", None)
        if below is None:
            return ""
        inner = below
    fields = [option for option in TEXT_FIELDS if option in inner]
    if not fields:
        raise StructureError(
            f"hf:{source}: the cells of {name} are objects with the fields {', '.join(inner)}, none of which is one "
            f"of {', '.join(TEXT_FIELDS)}. Say where the text is: "
            f"{typed(f'hf:{source}?caption={name}.{next(iter(inner))}')}."
        )
    return fields[0]


def _says_split(library: ModuleType, name: str, feature: Any) -> bool:
    return name.strip().casefold() == "split" and _is_text(library, feature)


def _is_text(library: ModuleType, feature: Any) -> bool:
    return isinstance(feature, library.ClassLabel) or getattr(feature, "dtype", "") in ("string", "large_string")
