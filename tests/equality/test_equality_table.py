"""The column on equality: whole, of tests that exist, and as the page shows it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from structure.pipeline.aligners.registry import ALIGNERS
from structure.pipeline.similarity.registry import SIMILARITIES
from tests.benchmarks.methods import VARIANTS, of_variant
from tests.equality.__main__ import PAGE, section
from tests.equality.rows import METHODS, METRICS, PARTS, VERDICTS, Row

TESTS = Path(__file__).resolve().parents[1]


def test_every_registered_method_and_metric_has_one_row() -> None:
    """Those of this package; packages beside it that a test installs say nothing here."""
    own = "structure.pipeline"
    assert sorted(row.name for row in METHODS) == sorted(
        name for name in ALIGNERS if ALIGNERS[name].__module__.startswith(own)
    )
    assert sorted(row.name for row in METRICS) == sorted(
        name for name in SIMILARITIES if SIMILARITIES[name].__module__.startswith(own)
    )
    assert len({row.name for row in PARTS}) == len(PARTS)


@pytest.mark.parametrize("row", [*METHODS, *PARTS, *METRICS], ids=lambda row: row.name)
def test_every_test_that_is_named_exists(row: Row) -> None:
    assert row.verdict in VERDICTS
    assert row.tests
    for test in row.tests:
        file, *names = test.split("::")
        body: list[ast.stmt] = ast.parse((TESTS / file).read_text()).body
        for name in names:
            found = [node for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name]
            assert found, test
            body = found[0].body


def test_equal_and_differs_name_what_was_compared_with() -> None:
    """A commit, a release of a package, or a library that the test runs."""
    for row in (*METHODS, *PARTS, *METRICS):
        if row.verdict == "equal":
            assert re.search(r"@[0-9a-f]{7}\b|\d+\.\d+\.\d+|scikit-learn|PyTorch", row.source), row
    assert {row.name for row in METHODS if row.verdict == "reconstruction"} >= {"freezealign", "sma"}


def test_the_page_shows_it() -> None:
    text = PAGE.read_text()
    assert section() in text
    for label in VARIANTS:
        shown = re.findall(rf"^\| {re.escape(label)} \|.*\| (\w+) \|$", text, flags=re.MULTILINE)
        assert set(shown) == {of_variant(label).verdict}, label
