"""Square matrices and their transposes by blocks."""

from __future__ import annotations

import pytest
import torch

from structure.pipeline.aligners import square_blocks


@pytest.mark.parametrize("rows", [1, 3, 7, 16])
def test_in_place_by_blocks_as_the_whole_matrix(monkeypatch, rows):
    monkeypatch.setattr(square_blocks, "BLOCK", 3)
    square = torch.arange(rows * rows, dtype=torch.float32).view(rows, rows)
    wanted = square.T.clone()
    assert square_blocks.transpose_(square) is square
    assert torch.equal(square, wanted)
    assert torch.equal(square_blocks.add_transpose_(square.clone()), square + square.T)
    symmetric = square + square.T
    half = symmetric.clone()
    for top in range(0, rows, 3):
        half[top + 3 :, top : top + 3] = torch.nan
    assert torch.equal(square_blocks.mirror_(half), symmetric)
