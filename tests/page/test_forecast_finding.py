"""What the verdict says of a ranking's forecast: what more pairs would add, and how sure that is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from structure.pipeline.page.forecast import forecast
from structure.pipeline.page.source import Source
from structure.store import open_store

FORECAST = {
    "method": "kernel-csa",
    "metric": "recall@10, mean of both directions",
    "gallery": 100,
    "chance": 0.1,
    "pairs_there": 500,
    "points": [
        {"pairs": 100, "value": 0.3, "low": 0.25, "high": 0.35, "measured": True},
        {"pairs": 300, "value": 0.4, "low": 0.35, "high": 0.45, "measured": True},
        {"pairs": 1000, "value": 0.55, "low": 0.46, "high": 0.6, "measured": False},
    ],
}


@pytest.mark.parametrize(
    ("changes", "end"),
    [
        ({}, "1,000 pairs in place of 300 would add about +0.15."),
        (
            {"pairs_there": 100},
            "300 pairs in place of 100 would add about +0.10, which the forecast is not sure of: the "
            "two intervals overlap.",
        ),
        ({"none": "12 pairs are too few"}, "No forecast: 12 pairs are too few."),
    ],
)
def test_how_many_pairs_more_would_help(tmp_path: Path, changes: dict[str, Any], end: str) -> None:
    source = Source(open_store(tmp_path), [])
    source.__dict__["rankings"] = [SimpleNamespace(document={"forecast": {**FORECAST, **changes}})]
    (finding,) = forecast(source)
    assert finding.words.endswith(end)
    source.__dict__["rankings"] = [SimpleNamespace(document={})]
    assert list(forecast(source)) == []
