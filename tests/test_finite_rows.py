"""Rows that hold a NaN or an infinity are found, in every kind of number."""

from __future__ import annotations

import pytest
import torch

from structure.pipeline.finite_rows import finite_rows


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_row_is_finite_where_all_its_numbers_are(dtype: torch.dtype) -> None:
    largest = torch.finfo(dtype).max
    values = torch.tensor([[largest] * 40, [-largest, *[0.0] * 39], [torch.finfo(dtype).tiny] * 40], dtype=dtype)
    assert finite_rows(values).tolist() == [True, True, True]
    for bad in (torch.nan, torch.inf, -torch.inf):
        broken = values.clone()
        broken[1, 39] = bad
        assert finite_rows(broken).tolist() == [True, False, True]
        assert finite_rows(torch.stack([values, broken])).tolist() == [[True] * 3, [True, False, True]]
    both = values.clone()
    both[2, :2] = torch.tensor([torch.inf, -torch.inf])
    assert finite_rows(both).tolist() == [True, True, False]
    assert finite_rows(torch.ones(2, 3, dtype=torch.int64)).tolist() == [True, True]
