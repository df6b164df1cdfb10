"""A sweep meets every pair of rows once, whatever is held at once and however many threads there are."""

from __future__ import annotations

import platform
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from structure.pipeline.similarity.knn import candidates as sweep
from structure.pipeline.similarity.knn import cosine_refinements as refinements
from structure.pipeline.similarity.knn import neighbours as module
from structure.pipeline.similarity.knn import search_plan, unit_rows
from structure.pipeline.similarity.knn.each_two import EachTwo
from structure.pipeline.similarity.knn.neighbours import neighbours
from structure.pipeline.similarity.knn.products_with_error_bounds import BFloat16, Float32, Precision
from structure.pipeline.similarity.knn.search_plan import SearchPlan, plan_search


@given(
    blocks=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    ends=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    height=st.integers(1, 20),
    size=st.integers(1, 900),
    at_once=st.integers(1, 3),
)
def test_a_sweep_meets_every_pair_once(
    blocks: list[int], ends: tuple[float, float], height: int, size: int, at_once: int
) -> None:
    """Every row of the span meets every column once: as a row of a strip, or as a shared column of another's."""
    edges = np.cumsum([0, *blocks]).tolist()
    span = slice(*sorted(round(end * edges[-1]) for end in ends))
    met = np.zeros((edges[-1], edges[-1]), int)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "PANEL", 25)
        patch.setattr(sweep, "STRIP", 10)
        patch.setattr(sweep, "_EVEN", 4)
        meets = sweep.Meetings.of(edges, span, at_once)
        for own, other in meets.pairs:
            is_shared = other < len(meets.panels)
            sides = meets.panels[own], meets.columns(other)
            for rows, tile in sweep.strips(*sides, height, size, is_shared=is_shared):
                met[rows, tile.start : tile.stop] += 1
                met[tile.shared : tile.stop, rows] += 1
    assert (met[span] == 1).all()
    assert met.sum() == (span.stop - span.start) * edges[-1]


@pytest.mark.parametrize("at_once", [1, 3])
def test_each_two_meet_once_and_never_a_busy_one(at_once: int) -> None:
    busy: set[int] = set()
    met: list[tuple[int, int]] = []
    finished: list[tuple[int, int]] = []

    def meet(i: int, j: int) -> None:
        mine = {i, j} - {6}  # what is no member may be met by several
        assert not busy & mine
        busy.update(mine)
        met.append((i, j))
        busy.difference_update(mine)

    pairs = [(i, j) for i in range(6) for j in range(i, 7)]
    EachTwo(pairs, 6, meet, lambda i: finished.append((i, sum(i in pair for pair in met)))).run(at_once)
    assert sorted(met) == pairs
    assert sorted(finished) == [(i, 7) for i in range(6)]


@pytest.mark.parametrize("at_once", [1, 2])
def test_what_fails_ends_the_rest(at_once: int) -> None:
    met: list[tuple[int, int]] = []

    def meet(i: int, j: int) -> None:
        met.append((i, j))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        EachTwo([(i, j) for i in range(9) for j in range(i, 9)], 9, meet, lambda _: None).run(at_once)
    assert len(met) <= at_once


@pytest.mark.parametrize(
    ("plan", "threads"),
    [
        ((False, 700, 700), 1),
        ((False, 700, 700), 3),
        ((False, 700, 250), 2),
        ((False, 190, 100), 1),
        ((True, 190, 700), 1),
    ],
)
def test_what_is_held_changes_nothing(plan: tuple[bool, int, int], threads: int) -> None:
    """Values that are read again, candidates of some rows at a time, blocks that are read again."""
    random = np.random.default_rng(3)
    few = random.normal(size=(140, 40))[random.integers(0, 140, 700)]
    x = (few * (1 + 10.0 ** -random.integers(4, 9, (700, 1)) * random.normal(size=(700, 40)))).astype(np.float16)
    x[650:] = x[100:150]  # repeated rows, so that not every row is among those that are searched
    with pytest.MonkeyPatch.context() as patch:
        whole = neighbours(x, k=12)
        patch.setattr(unit_rows, "plan_search", lambda *_, **__: SearchPlan(*plan, threads))
        patch.setattr(unit_rows, "_READ", 60)
        patch.setattr(refinements, "_CHUNK", 90)
        patch.setattr(sweep, "_SEEN", 200)
        patch.setattr(module, "RANKED_PAIRS", 500)
        for user in (sweep, module):
            patch.setattr(user, "STRIP", 32)
        np.testing.assert_array_equal(neighbours(x, k=12), whole)


def test_a_search_is_planned_within_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 100,000 rows of 768 columns in float16: all is held in 3 GB, in 1 GB not the stored values, in 750 MB the
    candidates of some rows at a time, in 500 MB blocks of the rows."""
    monkeypatch.setattr(search_plan, "cores", lambda: 2)
    monkeypatch.setattr(search_plan, "has_bfloat16_units", lambda: True)
    plans = {memory: plan_search(100_000, 768, 2, k=94, memory=memory * 10**6) for memory in (3000, 1000, 750, 500)}
    assert plans[3000] == SearchPlan(True, 100_000, 100_000, 2)
    assert plans[1000] == SearchPlan(False, 100_000, 100_000, 2)
    assert plans[750].block_rows == 100_000 > plans[750].sweep_rows >= 25_000
    assert 0 < plans[500].block_rows < 20_000


@pytest.mark.parametrize("precision", [BFloat16, Float32])
def test_the_kth_smallest_keys_of_rows(precision: Precision) -> None:
    random = np.random.default_rng(0)
    row = random.integers(0, 40, 900).astype(np.int16)
    keys = random.integers(-(2**15), 2**15, 900).astype(np.int16)
    if precision is Float32:
        keys = (keys / np.float32(7.0)).astype(np.float32)
    row[row == 3] = 4
    rows, kth = precision.kth(row, keys, 20)
    assert rows.tolist() == [i for i in range(40) if (row == i).sum() >= 20]
    assert kth.tolist() == [np.sort(keys[row == i])[19] for i in rows]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc holds memory between blocks")
def test_memory_between_blocks_is_given_back() -> None:
    """Blocks of 64 KiB lie below others that are in use: 64 MB of the 128 MB go back to the system."""
    code = """
from structure.pipeline.device import give_memory_back
def held():
    return 4096 * int(open("/proc/self/statm").read().split()[1])
blocks = [bytearray(b"x") * 2**16 for _ in range(2048)]
del blocks[::2]
before = held()
give_memory_back()
print(before - held())
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(told.stdout) > 30e6
