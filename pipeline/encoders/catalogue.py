"""The aliases of `configs/models.yaml`: what they stand for and what their layers are, without loading anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from typing import Any

from structure.pipeline.encoders.layer import Form, Layer, Modality, block_name
from structure.pipeline.encoders.pooling import Pooling
from structure.store.errors import StructureError, unknown


@dataclass(frozen=True)
class Alias:
    """One line of the table.

    `spec`: what it stands for. `parameters`: of the part that is loaded. `widths`: of each block, in order. `embed`:
    width of the input of the first block, 0 where it is not read. `final_norm`: whether the blocks are followed by a
    norm. `pooled`: width of the model's own vector, 0 without one. `form`: of the blocks. `input`: side of the square
    image in pixels, the most tokens of a text, or the most seconds of an audio clip. `weights`: where they come from.
    `note`: licence gates and traps.
    """

    name: str
    spec: str
    modality: Modality
    pooling: Pooling
    parameters: int
    widths: tuple[int, ...]
    embed: int
    final_norm: bool
    pooled: int
    form: Form
    input: int
    weights: str
    note: str = ""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers in order of depth."""
        layers = [Layer("embed", self.embed, self.form)] if self.embed else []
        layers += [Layer(block_name(index), width, self.form) for index, width in enumerate(self.widths)]
        if self.final_norm:
            layers.append(Layer("final_norm", self.widths[-1], self.form))
        if self.pooled:
            layers.append(Layer("pooled", self.pooled, "vector"))
        return tuple(layers)


@cache
def catalogue() -> Mapping[str, Alias]:
    """All aliases, in the order of the file. Raises `StructureError` for an entry with an unknown or missing key."""
    import yaml

    text = (files("structure.configs") / "models.yaml").read_text(encoding="utf-8")
    return {name: _alias(name, entry) for name, entry in yaml.safe_load(text).items()}


def _alias(name: str, entry: Mapping[str, Any]) -> Alias:
    known = {field.name for field in fields(Alias)} - {"name", "widths"} | {"blocks", "widths", "width"}
    for key in entry:
        if key not in known:
            raise unknown(f"key of the model {name}", key, sorted(known))
    values = dict(entry)
    width, blocks = values.pop("width", None), values.pop("blocks", None)
    if width is not None and blocks is not None:
        values["widths"] = [width] * blocks
        values.setdefault("embed", width)
    values.setdefault("embed", 0)
    values.setdefault("form", "tokens")
    values.setdefault("final_norm", False)
    values.setdefault("pooled", 0)
    values.setdefault("pooling", "mean")
    try:
        return Alias(name=name, **(values | {"widths": tuple(values["widths"])}))
    except (KeyError, TypeError) as error:
        raise StructureError(f"The model {name} in models.yaml lacks a key: {error}.") from error
