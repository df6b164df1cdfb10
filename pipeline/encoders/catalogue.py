"""The aliases of `configs/models.yaml`: what they stand for and what their layers are, without loading anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files

from structure.pipeline.encoders.layer import Form, Layer, Modality, block_name
from structure.pipeline.encoders.pooling import Pooling
from structure.pipeline.yaml_file import YamlFile, parse_yaml
from structure.pipeline.yaml_record import read_record

FILE = "models.yaml"


@dataclass(frozen=True, kw_only=True)
class WeightsPackage:
    """A package of the registry that brings the weights of an alias: its `name`, and the `path` in it of their file or
    folder. `in_order`: the file calls the tensors by other names than the model, and has them in the model's order."""

    name: str
    path: str
    in_order: bool = False


@dataclass(frozen=True)
class Alias:
    """One line of the table.

    `spec`: what it stands for. `parameters`: of the part that is loaded. `widths`: of each block, in order. `embed`:
    width of the input of the first block, 0 where it is not read. `final_norm`: whether the blocks are followed by a
    norm. `pooled`: width of the model's own vector, 0 without one. `form`: of the blocks. `input`: side of the square
    image in pixels, the most tokens of a text, or the most seconds of an audio clip. `patch`: side of a patch of that
    image in pixels, 0 where it is not cut into patches. `weights`: where they come from.
    `licence`: of the weights, as their publisher names it, "" where it is not on record. `note`: licence gates and
    traps. `package`: what brings the weights without a hub, None for nothing.
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
    licence: str = ""
    note: str = ""
    package: WeightsPackage | None = None
    patch: int = 0

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


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """An alias as the file says it: `blocks` of one `width`, or the `widths` of each."""

    spec: str
    modality: Modality
    parameters: int
    input: int
    weights: str
    pooling: Pooling = "mean"
    patch: int = 0
    blocks: int | None = None
    width: int | None = None
    widths: tuple[int, ...] = ()
    embed: int | None = None
    final_norm: bool = False
    pooled: int = 0
    form: Form = "tokens"
    licence: str = ""
    note: str = ""
    package: WeightsPackage | None = None


@cache
def catalogue() -> Mapping[str, Alias]:
    """All aliases, in the order of the file. Raises `StructureError` with the line of an entry that makes no sense."""
    text = (files("structure.configs") / FILE).read_text(encoding="utf-8")
    return aliases(parse_yaml(text, name=f"configs/{FILE}"))


def aliases(file: YamlFile) -> dict[str, Alias]:
    """The aliases of a file, in its order."""
    return {name: _alias(file, name) for name in file.named(())}


def _alias(file: YamlFile, name: str) -> Alias:
    entry = read_record(file, (name,), _Entry, noun="model")
    alike = (entry.width,) * entry.blocks if entry.width is not None and entry.blocks is not None else ()
    if bool(alike) == bool(entry.widths):
        raise file.error((name,), f"the model {name} needs 'blocks' and 'width', or 'widths'.")
    embed = entry.embed if entry.embed is not None else alike[0] if alike else 0
    same = {one.name: getattr(entry, one.name) for one in fields(Alias) if one.name not in ("name", "widths", "embed")}
    return Alias(name=name, widths=entry.widths or alike, embed=embed, **same)
