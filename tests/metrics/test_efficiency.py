from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from structure.pipeline.metrics.label_efficiency import label_efficiency, pairs_needed
from structure.store.errors import StructureError


def test_between_points_it_is_linear_in_log_pairs() -> None:
    needed, bound = pairs_needed([1000, 10_000], [0.2, 0.4], 0.3)
    assert needed == pytest.approx(10**3.5)
    assert bound == ""


def test_beyond_the_curve_it_is_a_bound() -> None:
    assert pairs_needed([100, 200], [0.2, 0.4], 0.5) == (200, "at least")
    assert pairs_needed([100, 200], [0.2, 0.4], 0.1) == (100, "at most")
    assert pairs_needed([100, 200], [0.2, 0.4], 0.2) == (100, "")


def test_a_curve_that_falls_again_is_read_where_it_first_gets_there() -> None:
    assert pairs_needed([100, 200, 400], [0.1, 0.5, 0.3], 0.5) == (pytest.approx(200), "")


def test_the_published_figure() -> None:
    """At 10,000 pairs as good as the baseline at 22,270: the 122.7 % of the paper's table."""
    found = label_efficiency([10_000, 22_270], [0.5, 0.6], [0.3, 0.5])
    assert found[0].saving == pytest.approx(1.227)
    assert found[1].bound == "at least"
    assert found[0].row()["U"] == found[0].saving


@given(
    st.lists(st.integers(1, 10**6), min_size=1, max_size=6, unique=True),
    st.lists(st.floats(0, 1), min_size=6, max_size=6),
)
def test_a_method_needs_no_more_than_itself(counts: list[int], values: list[float]) -> None:
    counts = sorted(counts)
    rising = sorted(values)[: len(counts)]
    for point in label_efficiency(counts, rising, rising):
        assert point.saving <= 1e-9
        assert point.bound == "" or point.saving == 0 or point.bound == "at most"


def test_a_curve_needs_its_points_in_order() -> None:
    with pytest.raises(StructureError, match="ascending"):
        pairs_needed([200, 100], [0.1, 0.2], 0.1)
