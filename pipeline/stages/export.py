"""Take an aligned model elsewhere: safetensors, an open_clip folder, clip_benchmark's command line, ONNX heads."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from structure.pipeline.aligners.aligner import Aligner, load_aligner
from structure.pipeline.aligners.aligner_runs import RECORD
from structure.store import Store, open_store
from structure.store.errors import StructureError, unknown

Format = Literal["safetensors", "open-clip", "clip-benchmark", "onnx"]
FORMATS: tuple[Format, ...] = get_args(Format)


@dataclass(frozen=True)
class Exported:
    """`facts` say what was checked and how the folder is used; `files` are relative to `folder`."""

    aligner: str
    format: Format
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
    format: Format,
    store: Store | str | Path,
    trust_remote_code: bool = False,
) -> Exported:
    """Write an aligner of the store (by name) into a new folder. The folder appears when it is whole and checked.

    - `safetensors`: weights and record; `load_aligner(DIR)` reads them, and so does any reader of safetensors.
    - `open-clip`: loads with `open_clip.create_model_and_transforms("local-dir:DIR")`, same embeddings.
    - `clip-benchmark`: `python DIR/run.py eval ...` is the original clip_benchmark with the aligned model.
    - `onnx`: the two heads, features in, embeddings out.

    Raises `StructureError` for what a format cannot express exactly, for an unknown aligner or format, and where the
    folder exists and is not empty.
    """
    target = store if isinstance(store, Store) else open_store(store)
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    there = target.folder("aligners").holding(RECORD)
    if aligner not in there:
        raise unknown("aligner", aligner, there, hint=f"The store is {target.url}.")
    place = Path(folder)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise StructureError(f"{place} is there and not empty; an export would mix with it. Choose another folder.")
    loaded = load_aligner(target.folder("aligners", aligner))
    partial = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        facts = _writer(format, trust_remote_code)(loaded, partial)
        files = tuple(sorted(str(path.relative_to(partial)) for path in partial.rglob("*") if path.is_file()))
        if place.exists():
            place.rmdir()
        partial.replace(place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    facts = {key: _moved(value, partial, place) for key, value in facts.items()}
    return Exported(aligner, format, place, files, facts)


def _writer(format: Format, trust_remote_code: bool) -> Callable[[Aligner, Path], dict[str, Any]]:
    if format == "open-clip":
        from structure.pipeline.exports.open_clip_folder import write_open_clip

        return write_open_clip
    if format == "clip-benchmark":
        from structure.pipeline.exports.clip_benchmark import write_clip_benchmark

        return lambda loaded, place: write_clip_benchmark(loaded, place, trust_remote_code=trust_remote_code)
    if format == "onnx":
        from structure.pipeline.exports.onnx_heads import write_onnx

        return write_onnx
    return _write_safetensors


def _write_safetensors(aligner: Aligner, folder: Path) -> dict[str, Any]:
    aligner.save(folder)
    return {"loads_with": f"structure.pipeline.load_aligner('{folder}')"}


def _moved(value: Any, partial: Path, place: Path) -> Any:
    return value.replace(str(partial), str(place)) if isinstance(value, str) else value
