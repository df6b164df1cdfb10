"""A label of a linear probe means its class name, wherever the list of a split has it."""

from __future__ import annotations

import numpy as np
import pytest

from structure.pipeline.evaluation.probe import _classes
from structure.store import StructureError


def tasks(*classes: str) -> dict[str, dict[str, list[str]]]:
    return {"label": {"classes": list(classes)}}


def test_classes_are_bound_by_name_between_splits() -> None:
    names, own = _classes(tasks("dog", "cat"), tasks("cat", "cow", "dog"), "label", "pets")
    assert names == ["cat", "cow", "dog"]
    np.testing.assert_array_equal(own[np.array([0, 1, 1, 0])], [2, 0, 0, 2])
    with pytest.raises(
        StructureError, match="1 of 2 classes of the test split .* 1 of the training split, first 'fox'"
    ):
        _classes(tasks("cat", "fox"), tasks("cat"), "label", "pets")
