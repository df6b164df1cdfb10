"""YAML from strangers: refused in a sentence, before it swells in memory."""

from __future__ import annotations

import pytest
import yaml

from structure.pipeline.yaml_file import parse_yaml, yaml_value
from structure.store.errors import StructureError


def nested(of: str, *, levels: int) -> str:
    """Each level holds the one before ten times: in a list, or merged into a mapping."""
    lines = ["a0: &a0 {k: v}"]
    for n in range(1, levels):
        inner = ", ".join([f"*a{n - 1}"] * 10)
        lines.append(f"a{n}: &a{n} {{<<: [{inner}], k{n}: v}}" if of == "merges" else f"a{n}: &a{n} [{inner}]")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (nested("lists", levels=20), "more than 200,000 values, or 60 in each other"),
        (nested("merges", levels=20), "more than 200,000 values, or 60 in each other"),
        ("a: &a [*a]", "more than 200,000 values, or 60 in each other"),
        ("a: &a {<<: *a, b: 1}", "more than 200,000 values, or 60 in each other"),
        ("\n".join(f"a{n}: &a{n} [{f'*a{n - 1}' if n else 'x'}]" for n in range(100)), "or 60 in each other"),
        ("a: " + "[" * 20_000, "nested too deeply"),
        ("a: " + "{b: " * 20_000, "nested too deeply"),
        ("a: !!python/object/apply:os.system [true]", "could not determine a constructor"),
        ("a: 9999-99-99", "not YAML"),
        ("a: " + "9" * 10_000, "not YAML"),
        ("? [a, b]\n: c", "a key must be one word"),
        ("- a", "expected keys with values at the top"),
        ("", "expected keys with values at the top"),
    ],
)
def test_a_hostile_document_is_refused(text: str, said: str) -> None:
    with pytest.raises(StructureError, match=said) as error:
        parse_yaml(text, name="own.yaml")
    assert str(error.value).startswith("own.yaml")


def test_aliases_and_merges_of_a_usual_size_are_read() -> None:
    assert parse_yaml(nested("merges", levels=3), name="x").data["a2"] == {"k": "v", "k1": "v", "k2": "v"}
    assert parse_yaml("a: &a {b: 1}\nc: {<<: *a, d: 2}", name="x").data["c"] == {"b": 1, "d": 2}


@pytest.mark.parametrize("text", ["[" * 20_000, "9999-99-99", "9" * 10_000, "{a: !!python/name:os.system x}"])
def test_a_value_of_the_command_line_is_refused_by_one_error(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        yaml_value(text)
