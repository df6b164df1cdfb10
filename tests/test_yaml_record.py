"""Dataclasses read from YAML: what a key may hold, and the line of whatever is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from structure.pipeline.yaml_file import parse_yaml
from structure.pipeline.yaml_record import key, keys_of, read_record
from structure.store import StructureError


@dataclass(frozen=True)
class Wheel:
    size: int
    material: Literal["rubber", "wood"] = "rubber"


@dataclass(frozen=True)
class Cart:
    name: str
    wheels: tuple[Wheel, ...]
    load: int | str = 0
    speeds: tuple[float, ...] = key(default=(1.0,), least=0, fewest=1)
    owner: str | None = None
    old: bool = False
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    anything: Any = None
    colour: str = "red"


WHOLE = """\
name: hay
wheels:
  - {size: 3}
  - {size: 4, material: wood}
load: all
speeds: [1, 2.5]
owner: null
old: true
parts: {axle: [iron]}
anything: [1, {a: b}]
"""


def cart(text: str, **options: Any) -> Cart:
    return read_record(parse_yaml(text, name="cart.yaml"), (), Cart, noun="cart", **options)


def test_every_type_of_field() -> None:
    wheels = (Wheel(3), Wheel(4, "wood"))
    assert cart(WHOLE) == Cart("hay", wheels, "all", (1, 2.5), None, True, {"axle": ("iron",)}, [1, {"a": "b"}])
    assert keys_of(Wheel) == ("size", "material")


def test_defaults_and_given_values() -> None:
    text = "wheels: []\ncolour: null\n"
    assert cart(text, given={"name": "hay"}, defaults={"load": 2}) == Cart("hay", (), load=2)
    with pytest.raises(StructureError, match="line 3: unknown key 'name'"):
        cart(f"{text}name: x\n", given={"name": "hay"})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: hay", "nam: hay", "line 1: unknown key 'nam'. Did you mean name"),
        ("name: hay\n", "", "line 1: the cart needs 'name', text"),
        ("name: hay", "name: null", "line 1: 'name' is None; it must be text"),
        ("name: hay", "name: no", "line 1: 'name' is False; it must be text. Put it in quotes"),
        ("name: hay", "name: hay\nname: straw", "line 2: 'name' stands twice, first on line 1"),
        ("{size: 3}", "{size: true}", "line 3: 'size' is True; it must be a whole number"),
        ("{size: 3}", "{material: wood}", "line 3: the wheel needs 'size', a whole number"),
        ("{size: 3}", "[3]", "line 3: expected keys with values, found \\[3\\]"),
        ("material: wood", "material: wod", "line 4: Unknown material of wheel 'wod'. Did you mean wood"),
        ("material: wood", "materal: wood", "line 4: unknown key 'materal'. Did you mean material"),
        ("load: all", "load: [1]", "line 5: 'load' is \\[1\\]; it must be a whole number or text"),
        ("[1, 2.5]", "[1, -2]", "line 6: 'speeds' is \\[1, -2\\]; it must be a list of numbers from 0, 1 or more"),
        ("[1, 2.5]", "[]", "line 6: 'speeds' is \\[\\]"),
        ("[1, 2.5]", "3", "line 6: 'speeds' is 3; it must be a list of numbers"),
        ("old: true", "old: 1", "line 8: 'old' is 1; it must be true or false"),
        ("[iron]", "[on]", "line 9: expected a string, found True. Put it in quotes"),
        ("{axle: [iron]}", "{1: [iron]}", "line 9: expected a name, found 1. Put it in quotes"),
        ("{axle: [iron]}", "[iron]", "line 9: expected keys with values"),
    ],
)
def test_mistakes_are_named_with_their_line(old: str, new: str, message: str) -> None:
    assert old in WHOLE
    with pytest.raises(StructureError, match=f"cart.yaml, {message}"):
        cart(WHOLE.replace(old, new, 1))
