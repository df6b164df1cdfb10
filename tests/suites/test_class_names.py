"""Class names from elsewhere are bound to a dataset's own by name, also where two differ by case alone."""

from __future__ import annotations

import re

import pytest
import yaml

from structure.pipeline.suites.class_names import bound, renamed
from structure.store.errors import StructureError


def test_names_are_bound_whatever_their_order_and_case() -> None:
    own = ("ant", "sea lion", "bee")
    assert bound(own, ("Bee", "Sea_Lion", "ant"), source="x", dataset="d", by_order=False) == ("ant", "Sea_Lion", "Bee")
    assert renamed(own, {"BEE": "b", "sea-lion": "s", "ant": "a"}, source="x", dataset="d") == ("a", "s", "b")


def test_two_classes_that_differ_by_case_are_two() -> None:
    own = ("Cat", "cat", "dog")
    assert bound(own, ("dog", "cat", "Cat"), source="x", dataset="d", by_order=False) == own
    assert renamed(own, {"cat": "pet", "Cat": "machine", "dog": "d"}, source="x", dataset="d") == (
        "machine",
        "pet",
        "d",
    )
    with pytest.raises(StructureError, match="no words for 1 of 3 classes, first 'Cat'"):
        renamed(own, {"cat": "pet", "dog": "d"}, source="x", dataset="d")
    with pytest.raises(StructureError, match="are not named there, first 'Cat'"):
        bound(own, ("cat", "dog", "bird"), source="x", dataset="d", by_order=False)


@pytest.mark.parametrize("own", [("ant", "bee", "cat"), ("Cat", "cat", "ant")])
def test_the_words_that_a_refusal_says_to_write_are_taken(own: tuple[str, ...]) -> None:
    with pytest.raises(StructureError, match="Say which is which") as told:
        bound(own, ("x", "y", "z"), source="x", dataset="d", by_order=False)
    written = yaml.safe_load(re.findall(r"names: ({.*})", str(told.value))[0])
    assert renamed(own, written, source="x", dataset="d") == ("x", "y", "z")
