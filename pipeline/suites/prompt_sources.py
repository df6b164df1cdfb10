"""Class names and templates that installed packages keep, read from their files without importing them."""

from __future__ import annotations

import json
import runpy
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

Lists = tuple[tuple[str, ...], tuple[str, ...], str]
"""Class names, templates with `{c}`, and where they were read; empty tuples where there are none."""

NOTHING: Lists = ((), (), "")


@cache
def imagenet_lists() -> Lists:
    """ImageNet-1k's names and 80 templates (Radford et al. 2021) as open_clip's `zero_shot_metadata` has them.

    The file is run alone: `import open_clip` takes seconds and needs torch, this takes a millisecond.
    """
    folder = _folder("open_clip")
    file = folder / "zero_shot_metadata.py" if folder else None
    if file is None or not file.is_file():
        return NOTHING
    names = runpy.run_path(str(file))
    templates = tuple(fill("{c}") for fill in names["OPENAI_IMAGENET_TEMPLATES"])
    source = f"open_clip_torch {version('open_clip_torch')} zero_shot_metadata"
    return tuple(names["IMAGENET_CLASSNAMES"]), templates, source


@cache
def benchmark_lists(dataset: str, language: str = "en") -> Lists:
    """Names and templates of `dataset` in the data files of the installed package clip-benchmark, if it has them."""
    folder = _folder("clip_benchmark")
    if folder is None:
        return NOTHING
    classes = _entry(folder / "datasets" / f"{language}_classnames.json", dataset)
    templates = _entry(folder / "datasets" / f"{language}_zeroshot_classification_templates.json", dataset)
    if not classes and not templates:
        return NOTHING
    return classes, templates, f"clip-benchmark {version('clip-benchmark')} {language}: {dataset}"


@cache
def cupl_descriptions() -> tuple[Mapping[str, tuple[str, ...]], str]:
    """CuPL's descriptions of ImageNet's classes by name (Pratt et al. 2023, arXiv 2209.03320), from clip-benchmark."""
    folder = _folder("clip_benchmark")
    file = folder / "datasets" / "cupl_prompts.json" if folder else None
    if file is None or not file.is_file():
        return {}, ""
    described = json.loads(file.read_text(encoding="utf-8"))["imagenet1k"]
    return {name: tuple(texts) for name, texts in described.items()}, f"clip-benchmark {version('clip-benchmark')} CuPL"


def _folder(package: str) -> Path | None:
    found = find_spec(package)
    places = list(found.submodule_search_locations or ()) if found else []
    return Path(places[0]) if places else None


def _entry(file: Path, dataset: str) -> tuple[str, ...]:
    if not file.is_file():
        return ()
    return tuple(json.loads(file.read_text(encoding="utf-8")).get(dataset, ()))
