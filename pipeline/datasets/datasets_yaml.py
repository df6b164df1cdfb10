"""`configs/datasets.yaml`: what can be named, where it lies, how to get it."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import yaml


@cache
def config() -> dict[str, Any]:
    """The file as it stands: `named`, `raw`, `benchmark` and `own`."""
    text = files("structure.configs").joinpath("datasets.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text)
    return content
