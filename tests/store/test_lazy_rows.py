"""Any rows of a layer, in any order, some of them twice: what reading gives is what indexing the whole layer gives."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from structure.store import FeatureSet, Rows

HERE = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@HERE
@example([0, 0, 2])  # as many rows as lie between the first and the last
@example([62, 64, 64, 65])
@given(st.lists(st.integers(0, 299), min_size=1, max_size=60))
def test_rows_of_a_pooled_layer(features: FeatureSet, values: dict[str, np.ndarray], numbers: list[int]) -> None:
    rows = Rows(features, "block.00", np.array(numbers))
    expected = values["block.00"].astype(np.float16)[numbers]
    np.testing.assert_array_equal(rows[:], expected)
    np.testing.assert_array_equal(rows[1:3], expected[1:3])
    chosen = np.arange(len(numbers))[::-2]
    np.testing.assert_array_equal(rows[chosen][:], expected[chosen])
