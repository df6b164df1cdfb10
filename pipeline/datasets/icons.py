"""The dataset `icons`: the icons of Material Design, drawn from an installed package, with their names as captions."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from structure.pipeline.datasets.dataset import Dataset, Item, Task, within
from structure.pipeline.datasets.kind import DatasetKind, Listing
from structure.pipeline.datasets.splits import choose
from structure.pipeline.installed_package import install_command, is_installed
from structure.store.errors import BadSampleError, NotPresentError, StructureError

if TYPE_CHECKING:
    from PIL import Image

PACKAGE = "material-design-icons-pack"
SIDE = 96
"""Pixels of a drawn icon's side; the ground is white."""

STYLES = frozenset({"outline", "variant", "box", "circle", "thick", "thin", "bold"})
"""Words that say how an icon is drawn, behind the first word of a name: filled or not, another drawing, a frame."""


class Icons(Dataset):
    """The icons that are not deprecated, in a shuffled order that is the same everywhere; `count` only cuts the list.

    Ids are the names of the icons (`weather-lightning`); the caption is the name in words. Icons that are the same but
    for how they are drawn (`bell`, `bell-outline`: names that differ only in `STYLES`) are in one split, and so are
    icons with one drawing under several names. Of these groups 80, 10 and 10 per cent are `train`, `val` and `test`, by
    a hash. What a test icon shows may still be part of a training icon (`bell-plus`): with all icons that begin with
    one word in one split, recall@10 of 2,400 pairs falls from .69 to .32. An icon is drawn whenever it is read, which
    takes less than a millisecond.

    Raises `NotPresentError` where the package is not installed, `StructureError` for an unknown split and for a count
    that the split does not have.
    """

    kind = "retrieval"
    tasks: Mapping[str, Task] = {}

    def __init__(self, split: str, count: int | None = None, seed: int = 0) -> None:
        if not is_installed(PACKAGE):
            raise NotPresentError(
                f"Dataset icons is drawn from the package {PACKAGE}, which is not installed. To get it: "
                f"{install_command(PACKAGE)}"
            )
        self.name = "icons"
        names, groups = _catalogue()
        self.split, chosen = choose(groups, split=split, seed=seed, source=self.name)
        if count is not None and not 1 <= count <= len(chosen):
            raise StructureError(
                f"icons:{count} asks for {count:,} icons; the split {self.split} has {len(chosen):,}. Type "
                f"icons:{len(chosen)} or less, or icons for all of them."
            )
        self.ids = tuple(names[index] for index in chosen[:count])
        self.source = f"{PACKAGE} {version(PACKAGE)}, vl-convert-python {version('vl-convert-python')}, {SIDE} pixels"

    def __len__(self) -> int:
        return len(self.ids)

    def item(self, index: int) -> Item:
        name = self.ids[within(index, len(self))]
        return Item(name, (name.replace("-", " "),))

    def image(self, index: int) -> Image.Image:
        """The icon in black on white, RGB, `SIDE` pixels a side."""
        import vl_convert
        from PIL import Image

        name = self.ids[within(index, len(self))]
        try:
            drawn = vl_convert.svg_to_png(on_white(_svg(name)))
        except ValueError as error:
            raise BadSampleError(name, f"its drawing cannot be rendered: {error}") from None
        return Image.open(io.BytesIO(drawn)).convert("RGB")

    def payload(self, index: int) -> bytes:
        """The drawing's source and what draws it, which determine its pixels."""
        return f"{self.source}\n{_svg(self.ids[within(index, len(self))])}".encode()

    def stamp(self, index: int) -> str:
        return self.source


class IconsKind(DatasetKind):
    """`icons` or `icons:N`."""

    form = "icons[:N]"
    argument = "optional"
    summary = "the icons of Material Design with their names as captions"
    how = install_command(PACKAGE)
    default_split = "train"

    def open(self, argument: str, *, split: str | None, data_root: Path, seed: int) -> Icons:
        if argument and not re.fullmatch(r"[0-9]{1,9}", argument):
            raise StructureError(f"Dataset 'icons:{argument}': N is a whole number of icons. Type icons:1000.")
        count = int(argument) if argument else None
        return Icons(split or self.default_split, count, seed=seed)

    def listings(self, data_root: Path) -> list[Listing]:
        return [replace(listing, present=is_installed(PACKAGE)) for listing in super().listings(data_root)]


def subject(name: str) -> str:
    """What an icon shows: its name without the words that say how it is drawn. `bell-circle-outline` -> `bell`."""
    first, *others = name.split("-")
    return "-".join([first, *(word for word in others if word not in STYLES)])


def on_white(svg: str) -> str:
    """The drawing with a size and a white ground."""
    sized = svg.replace("<svg", f'<svg width="{SIDE}" height="{SIDE}"', 1)
    return sized.replace(">", '><rect width="100%" height="100%" fill="white"/>', 1)


@cache
def _catalogue() -> tuple[Sequence[str], Sequence[str]]:
    """The icons of the package that are not deprecated, shuffled, and the group of each."""
    import material_design_icons_pack as pack

    icons = [getattr(pack, name) for name in dir(pack) if name.isupper()]
    names = [icon.slug for icon in icons if not icon.deprecated]
    names.sort(key=lambda name: hashlib.sha256(name.encode()).digest())
    return names, _groups(names)


def _svg(name: str) -> str:
    """The drawing, without the name that it carries."""
    import material_design_icons_pack as pack

    icon = pack.get_icon(name)
    assert icon is not None, name
    return re.sub(r' id="[^"]*"', "", icon.svg, count=1)


def _groups(names: Sequence[str]) -> list[str]:
    """The group of each icon, as one of the subjects in it: icons of one subject, joined by drawings that are equal."""
    joined: dict[str, str] = {}

    def first(one: str) -> str:
        while one in joined:
            one = joined[one]
        return one

    of_drawing: dict[str, str] = {}
    for name in sorted(names):
        here, there = first(subject(name)), first(of_drawing.setdefault(_svg(name), subject(name)))
        if here != there:
            joined[here] = there
    return [first(subject(name)) for name in names]
