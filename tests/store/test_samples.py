"""The sample index: what a row is, and what counts as a changed dataset."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structure.store import SampleItem, Samples, Store, StructureError
from structure.store.errors import FingerprintError


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.sampled_from([None, 1, 2]))
def test_rows_of_captions_and_items_agree_with_a_plain_loop(counts: list[int], limit: int | None) -> None:
    items = [SampleItem(f"i{i}", tuple(f"c{i}.{j}" for j in range(n))) for i, n in enumerate(counts)]
    samples = Samples.build("d", "s", items)
    kept = [n if limit is None else min(n, limit) for n in counts]
    assert len(samples) == len(counts)
    assert samples.item_ids == [f"i{i}" for i in range(len(counts))]
    assert samples.texts(limit) == [f"c{i}.{j}" for i, n in enumerate(kept) for j in range(n)]
    assert samples.row_ids("captions", limit) == [f"i{i}#{j}" for i, n in enumerate(kept) for j in range(n)]
    assert samples.item_of_caption(limit).tolist() == [i for i, n in enumerate(kept) for _ in range(n)]


def test_labels_keep_gaps_and_sets(store: Store) -> None:
    items = [
        SampleItem("a", labels={"label": 2, "tags": (0, 1)}),
        SampleItem("b", labels={"tags": ()}),
        SampleItem("c", labels={"label": 0, "tags": (1,)}),
    ]
    tasks = {"label": {"classes": ["x", "y", "z"]}, "tags": {"classes": ["p", "q"]}}
    samples = Samples.build("d", "s", items, tasks=tasks)
    store.put_samples(samples)
    back = store.samples("d", "s")
    np.testing.assert_array_equal(back.labels("label"), [2, -1, 0])
    assert back.label_sets("tags") == [[0, 1], [], [1]]
    assert back.tasks == tasks
    assert back.table == samples.table


def test_repeated_ids_and_empty_captions_are_refused() -> None:
    with pytest.raises(StructureError, match="id 'a' is used by sample 0 and by sample 2"):
        Samples.build("d", "s", [SampleItem("a"), SampleItem("b"), SampleItem("a")])
    with pytest.raises(StructureError, match="caption 1 of sample 'a' is empty"):
        Samples.build("d", "s", [SampleItem("a", ("x", "  "))])
    with pytest.raises(StructureError, match="has no sample"):
        Samples.build("d", "s", [])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ([SampleItem("a", ("x",), "1"), SampleItem("b", ("y",), "9")], "1 samples differ, the first is 'b'"),
        ([SampleItem("a", ("x",), "1"), SampleItem("b", ("z",), "2")], "1 captions differ, the first is 'b#0'"),
        ([SampleItem("a", ("x",), "1")], "it had 2 samples and has 1 now"),
    ],
)
def test_a_changed_dataset_is_refused(store: Store, changed: list[SampleItem], message: str) -> None:
    store.put_samples(Samples.build("d", "s", [SampleItem("a", ("x",), "1"), SampleItem("b", ("y",), "2")]))
    with pytest.raises(FingerprintError, match=message):
        store.put_samples(Samples.build("d", "s", changed))


def test_a_new_caption_leaves_the_digest_of_the_pictures_alone() -> None:
    old = Samples.build("d", "s", [SampleItem("a", ("x",), "1")])
    new = Samples.build("d", "s", [SampleItem("a", ("x", "y"), "1")])
    assert old.digest("items") == new.digest("items")
    assert old.digest("captions") != new.digest("captions")
    assert old.digest("captions", 1) == new.digest("captions", 1)


def test_an_unknown_split_lists_what_is_there(store: Store) -> None:
    store.put_samples(Samples.build("d", "train", [SampleItem("a")]))
    with pytest.raises(StructureError, match=r"d/tran.*d/train"):
        store.samples("d", "tran")
