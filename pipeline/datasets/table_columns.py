"""Which columns of a user's table mean what: by the usual names, or as the dataset's name says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from structure.store.errors import StructureError, unknown

COLUMNS = ("image", "video", "audio", "caption", "captions", "id", "label", "split")
"""What a column can mean, by its usual name; all other columns are left unread."""

NO_SPLITS = "none"
"""`split=none`: no column says which rows are held out."""

COLUMN_OPTIONS: Mapping[str, str] = {
    "image": "the column with the paths of the images",
    "video": "the column with the paths of the videos",
    "audio": "the column with the paths of the audio clips",
    "caption": "the column with the texts; repeat it for several",
    "captions": "the column with a list of texts",
    "id": "the column that names the samples",
    "label": "the column with the classes",
    "split": "the column that says which part a row belongs to; none: no column does",
}


@dataclass(frozen=True)
class TableColumns:
    """`given`: meaning -> the columns that the user named for it."""

    given: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    _known: dict[tuple[str, ...], dict[str, tuple[str, ...]]] = field(default_factory=dict)

    def meanings(self, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Meaning -> column, for the columns of a row: the named ones, else those of the usual names in any case and
        without white space around them. `caption_0`, `caption_1`, ... are captions where there is no other."""
        key = tuple(names)
        if key not in self._known:
            self._known[key] = self._meanings(key)
        return self._known[key]

    def _meanings(self, names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        texts_given = {"caption", "captions"} & set(self.given)
        for meaning in COLUMNS:
            if meaning in self.given:
                found[meaning] = tuple(name for name in self.given[meaning] if name in names)
            elif meaning in ("caption", "captions") and texts_given:
                continue
            elif meaning in names:
                found[meaning] = (meaning,)
            else:
                alike = [name for name in names if name.strip().casefold() == meaning]
                found[meaning] = tuple(alike) if len(alike) == 1 else ()
        if not texts_given and not found["caption"] and not found["captions"]:
            numbered = [match for name in names if (match := re.fullmatch(r"\s*captions?_?([0-9]+)\s*", name, re.I))]
            found["caption"] = tuple(match[0] for match in sorted(numbered, key=lambda match: int(match[1])))
        return {meaning: columns for meaning, columns in found.items() if columns}

    def pick(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values of a row by their meaning; several columns of captions are a list of them, without the empty
        cells."""
        picked: dict[str, Any] = {}
        for meaning, columns in self.meanings(tuple(values)).items():
            if len(columns) == 1:
                picked[meaning] = values[columns[0]]
                continue
            cells = (values[name] for name in columns)
            picked["captions"] = [cell for cell in cells if cell is not None and cell != ""]
        return {meaning: value for meaning, value in picked.items() if value is not None and value == value}  # no NaN

    def require(self, names: Sequence[str], *, file: object) -> None:
        """Raises `StructureError` for a column that was named and is not there, and for two columns of one meaning."""
        for meaning, columns in self.given.items():
            for column in columns:
                if column not in names and (meaning, column) != ("split", NO_SPLITS):
                    raise unknown("column", column, names, hint=f"It is given as {meaning}= of {file}.")
            if len(columns) > 1 and meaning != "caption":
                raise StructureError(
                    f"{meaning}= of {file} is given {len(columns)} times; one column has that meaning."
                )
        for meaning in COLUMNS:
            alike = [name for name in names if name.strip().casefold() == meaning]
            if len(alike) > 1 and meaning not in self.given and meaning not in alike:
                raise StructureError(
                    f"{file} has the columns {', '.join(map(repr, alike))}, and each could be the {meaning}. Say "
                    f"which: ?{meaning}={alike[0]}"
                )
