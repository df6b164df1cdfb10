"""Take an aligned model elsewhere, in one of the formats of `EXPORT_FORMATS`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from structure.pipeline.aligners.aligner import load_aligner
from structure.pipeline.aligners.aligner_runs import RECORD
from structure.pipeline.exports.export_format import ExportSubject, LabelPrompts
from structure.pipeline.exports.readme import README, readme
from structure.pipeline.exports.registry import EXPORT_FORMATS
from structure.pipeline.results import read_results
from structure.pipeline.suites.prompts import refuse_slotless
from structure.store import Store, open_store
from structure.store.errors import StructureError, UsageError, unknown


@dataclass(frozen=True)
class Exported:
    """`facts` say what was checked and how the folder is used; `files` are relative to `folder`."""

    aligner: str
    format: str
    folder: Path
    files: tuple[str, ...]
    facts: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {
            "aligner": self.aligner,
            "format": self.format,
            "folder": str(self.folder),
            "files": list(self.files),
            **self.facts,
        }


def export(
    aligner: str,
    folder: str | Path,
    *,
    format: str,
    store: Store | str | Path,
    classes: Sequence[str] = (),
    templates: Sequence[str] = (),
    trust_remote_code: bool = False,
) -> Exported:
    """Write an aligner of the store (by name) into a new folder, with a README. The folder appears when it is whole and
    checked.

    `format` is a key of `EXPORT_FORMATS`. `classes` and `templates` (with `{c}`) are the prompts of labels that go with
    it, for a format that has a place for them. Raises `StructureError` for what a format cannot express exactly, for an
    unknown aligner or format, and where the folder exists and is not empty.
    """
    target = store if isinstance(store, Store) else open_store(store)
    form = EXPORT_FORMATS[format]()
    if (classes or templates) and not form.takes_labels:
        able = " or ".join(name for name in EXPORT_FORMATS if EXPORT_FORMATS[name].takes_labels)
        raise UsageError(f"The format {format} has no place for prompts of labels. Leave them out, or use {able}.")
    for number, template in enumerate(templates, start=1):
        refuse_slotless(template, f"--prompt {number}")
    there = target.folder("aligners").holding(RECORD)
    if aligner not in there:
        raise unknown("aligner", aligner, there, hint=f"The store is {target.url}.")
    place = Path(folder)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise StructureError(f"{place} is there and not empty; an export would mix with it. Choose another folder.")
    loaded = load_aligner(target.folder("aligners", aligner))
    run = str(loaded.metadata.get("run", ""))
    subject = ExportSubject(
        aligner,
        loaded,
        results=read_results(target.folder("results", aligner), run=run),
        trust_remote_code=trust_remote_code,
        labels=LabelPrompts(tuple(classes), tuple(templates)),
    )
    partial = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        written = form.write(subject, partial)
        text = readme(subject, form, format, written, _files(partial))
        (partial / README).write_text(text, encoding="utf-8")
        files = _files(partial)
        if place.exists():
            place.rmdir()
        partial.replace(place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    facts = {key: _moved(value, partial, place) for key, value in written.facts.items()}
    return Exported(aligner, format, place, files, facts)


def _files(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()))


def _moved(value: Any, partial: Path, place: Path) -> Any:
    return value.replace(str(partial), str(place)) if isinstance(value, str) else value
