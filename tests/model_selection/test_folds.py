"""Folds hold groups together, are as even as these allow, and depend on the seed alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structure.pipeline.model_selection.folds import assign_folds, draw_rows, joint_groups, row_keys
from structure.store.errors import StructureError

GROUPS = st.lists(st.integers(0, 12), min_size=30, max_size=80).map(
    lambda labels: np.unique(labels, return_inverse=True)[1].reshape(-1)
)


@given(GROUPS, st.integers(2, 5), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_no_group_is_in_two_folds_and_folds_are_even(groups: np.ndarray, folds: int, seed: int) -> None:
    if groups.max() + 1 < folds:
        return
    fold_of = assign_folds(groups, folds=folds, seed=seed)
    for group in range(groups.max() + 1):
        assert len(set(fold_of[groups == group].tolist())) == 1
    sizes = np.bincount(fold_of, minlength=folds)
    assert sizes.min() > 0
    assert sizes.max() - sizes.min() <= np.bincount(groups).max()
    assert fold_of.tolist() == assign_folds(groups, folds=folds, seed=seed).tolist()


def test_another_seed_gives_other_folds() -> None:
    single = np.arange(60)
    first, second = (assign_folds(single, folds=3, seed=seed) for seed in (0, 1))
    assert first.tolist() != second.tolist()


@given(GROUPS, st.integers(1, 80), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_a_draw_takes_whole_groups_and_grows_with_its_size(groups: np.ndarray, count: int, seed: int) -> None:
    rows = np.arange(len(groups))
    few, more = (draw_rows(rows, groups, size, seed=seed) for size in (count, count + 7))
    assert set(few) <= set(more)
    assert len(few) >= min(count, len(rows))
    for group in set(groups[few].tolist()):
        assert set(np.flatnonzero(groups == group)) <= set(few.tolist())


def test_rows_that_share_a_key_are_one_group_also_through_others() -> None:
    images, texts = ["a", "a", "b", "c", None], ["x", "y", "y", "z", None]
    assert joint_groups(5, images, texts).tolist() == [0, 0, 0, 1, 2]
    assert joint_groups(5).tolist() == [0, 1, 2, 3, 4]


def test_equal_feature_rows_have_equal_keys() -> None:
    rows = np.array([[1, 2], [3, 4], [1, 2]], dtype=np.float16)
    keys = row_keys(rows)
    assert keys[0] == keys[2] != keys[1]


def test_fewer_groups_than_folds_are_refused_with_what_to_pass() -> None:
    with pytest.raises(StructureError, match=r"2 groups.*fewer than 3 folds.*--folds 2"):
        assign_folds(np.array([0, 0, 1, 1]), folds=3, seed=0)
