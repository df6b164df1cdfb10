"""Documents that stages keep: strict JSON, and a number that is not there comes back as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from structure.pipeline.strict_json import from_json, to_json

NUMBERS = st.floats() | st.integers() | st.none() | st.text(max_size=3)
BODIES = st.recursive(NUMBERS, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner))


def refused(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


@given(st.dictionaries(st.text(max_size=3), BODIES))
def test_every_reader_takes_it(body: dict[str, Any]) -> None:
    json.loads(to_json(body), parse_constant=refused)


def test_a_single_seed_has_no_interval_again() -> None:
    nan = float("nan")
    kept = {"means": [{"metric": "acc1", "value": 0.5, "low": nan, "high": nan, "chance": None}]}
    assert b"NaN" not in to_json(kept)
    (row,) = from_json(to_json(kept))["means"]
    assert row == pytest.approx({"metric": "acc1", "value": 0.5, "low": nan, "high": nan, "chance": None}, nan_ok=True)
