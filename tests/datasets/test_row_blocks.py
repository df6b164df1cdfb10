"""Passes over arrays of a mapped file: what they find, and that they hold a block at a time."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from structure.pipeline.datasets.row_blocks import BLOCK_BYTES, bounds, forget, row_blocks


@pytest.mark.parametrize("rows", [1, 7, 100])
def test_blocks_are_all_rows_in_their_order(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr("structure.pipeline.datasets.row_blocks.BLOCK_BYTES", 100)
    values = np.random.default_rng(0).standard_normal((rows, 3))
    for array in (values, np.asfortranarray(values), values.astype(np.float16)):
        parts = list(row_blocks(array))
        assert [start for start, _ in parts] == list(np.cumsum([0, *(len(part) for _, part in parts)])[:-1])
        np.testing.assert_array_equal(np.concatenate([part for _, part in parts]), array)
        low, high = bounds(array)
        assert low <= array.min()
        assert high >= array.max()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bounds_tell_of_one_value_that_is_not_finite(dtype: type, bad: float) -> None:
    values = np.ones((50, 3), dtype=dtype)
    values[31, 1] = bad
    assert not np.isfinite(bounds(values)).all()
    assert np.isfinite(bounds(values[:31])).all()


def resident(path: Path) -> int:
    """Bytes of a mapped file that this process holds."""
    smaps = Path("/proc/self/smaps")
    if not smaps.exists():
        pytest.skip("this system does not tell what a process holds")
    entries = re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", smaps.read_text())
    return sum(int(entry.split("Rss:")[1].split()[0]) * 1024 for entry in entries if str(path) in entry)


def test_a_mapped_file_is_held_a_block_at_a_time(tmp_path: Path) -> None:
    file = tmp_path / "values.npy"
    np.save(file, np.ones((4 * BLOCK_BYTES // 64, 32), dtype=np.float16))
    values = np.load(file, mmap_mode="r")
    whole = np.asarray(values)[3:]  # a view of a view
    held = []
    for _, block in row_blocks(whole):
        assert bool((block == 1).all())
        held.append(resident(file))
    assert BLOCK_BYTES <= max(held) < 1.5 * BLOCK_BYTES
    assert float(values.sum(dtype=np.float64)) == values.size
    assert resident(file) > 3 * BLOCK_BYTES
    forget(values)
    assert resident(file) == 0
    assert values[5, 5] == 1
