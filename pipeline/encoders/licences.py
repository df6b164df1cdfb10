"""The licence of an encoder's weights, where its folder or the table of aliases states one. Nothing is downloaded."""

from __future__ import annotations

import re
from pathlib import Path

from structure.pipeline.encoders.catalogue import Alias, catalogue
from structure.pipeline.encoders.loading import weights_folder
from structure.pipeline.encoders.model_names import parse_spec
from structure.store.errors import StructureError

UNKNOWN = "unknown"
README = "README.md"
MOST_BYTES = 1 << 20
"""Of a README that is read for its licence."""


def licence_of(spec: str) -> str:
    """What the README.md beside the weights says in its head (`license:`), else what the alias of the model has on
    record; "unknown" where neither says one."""
    try:
        parsed = parse_spec(spec)
        folder = weights_folder(spec)
    except StructureError:  # imported features, or what is not on this machine
        return UNKNOWN
    if parsed.library == "bundled":
        return "Apache-2.0"
    stated = _stated(folder / README) if folder is not None else ""
    return stated or next((alias.licence for alias in _aliases_of(parsed.source) if alias.licence), UNKNOWN)


def _aliases_of(source: str) -> list[Alias]:
    return [alias for alias in catalogue().values() if parse_spec(alias.spec).source == source]


def _stated(readme: Path) -> str:
    """`license: apache-2.0` of a hub's model card, between its first two lines of dashes; plain characters alone."""
    if not readme.is_file():
        return ""
    with readme.open(encoding="utf-8", errors="replace") as file:
        lines = file.read(MOST_BYTES).splitlines()
    if not lines or lines[0].strip() != "---":
        return ""
    for line in lines[1:]:
        if line.strip() == "---":
            return ""
        key, _, value = line.partition(":")
        if key == "license":
            return re.sub(r"[^\w .+,-]", "", value).strip()
    return ""
