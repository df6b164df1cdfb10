"""A comparison of two aligners shows a difference of the very values beside it, from what was saved of both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from structure.pipeline.evaluation.comparison import compare_kept
from structure.pipeline.metrics.confusion_areas import segmentation_areas
from structure.pipeline.metrics.score_segmentation import score_segmentation
from structure.pipeline.results import Result, keep_results, predictions_file, write_table
from structure.store import SampleItem, Samples, Store, StructureError, open_store

TASK = ("masks", "voc", "segmentation")
COUNT = 12


def saved(store: Store, aligner: str, wrong: float, *, without: int | None = None, columns: int | None = None) -> None:
    """Results of an aligner of which a share of the pixels is wrong; it could not read the image `without`."""
    random = np.random.default_rng(0)
    truth = [random.choice(4, size=(3 + 2 * n, 9), p=[0.6, 0.25, 0.1, 0.05]) for n in range(COUNT)]
    guess = [np.where(random.random(one.shape) < wrong, random.integers(0, 4, one.shape), one) for one in truth]
    read = [n for n in range(COUNT) if n != without]
    areas = segmentation_areas([guess[n] for n in read], [truth[n] for n in read], classes=4)
    scores = score_segmentation(areas, ids=[str(n) for n in read], classes="abcd", without=[1])
    folder = store.folder("results", aligner)
    asked = {"samples": {"dataset": "voc", "split": "test"}}
    rows = [
        Result(aligner, *TASK, name, one.value, one.low, one.high, one.n, None, asked)
        for name, one in scores.intervals.items()
    ]
    keep_results(folder, rows)
    table = scores.samples if columns is None else scores.samples.select(list(range(columns)))
    write_table(folder, f"predictions/{predictions_file(*TASK)}", pa.table(table), owner=rows[0].owner)


@pytest.mark.parametrize("without", [None, COUNT - 1])
def test_the_difference_is_that_of_the_values_shown(tmp_path: Path, without: int | None) -> None:
    store = open_store(tmp_path / "store")
    saved(store, "good", 0.1)
    saved(store, "poor", 0.7, without=without)
    differences = compare_kept(store, "good", "poor")
    assert {row.metric for row in differences} == {"miou", "pixel_accuracy"}
    for row in differences:
        assert row.value == pytest.approx(row.first - row.second, abs=1e-12)
        assert row.low < row.value < row.high
        assert row.left_out == (without is not None)


def test_predictions_without_what_a_difference_needs_are_told(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    saved(store, "good", 0.1)
    saved(store, "poor", 0.7, columns=5)
    with pytest.raises(StructureError, match="Evaluate both on the suite masks again: structure eval --suite SUITE"):
        compare_kept(store, "good", "poor")


def test_images_of_one_patient_are_resampled_together(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    saved(store, "good", 0.1)
    saved(store, "poor", 0.7)
    patients = [n // 4 for n in range(COUNT)]
    items = [SampleItem(str(n), (f"image {n}",), labels={"patient": patient}) for n, patient in enumerate(patients)]
    store.put_samples(Samples.build("voc", "test", items, tasks={"patient": {"classes": ["a", "b", "c"]}}))
    single = {row.metric: row for row in compare_kept(store, "good", "poor")}
    grouped = {row.metric: row for row in compare_kept(store, "good", "poor", group="label.patient")}
    for metric, row in grouped.items():
        assert row.value == single[metric].value
        assert (row.n, row.group, single[metric].n, single[metric].group) == (3, "label.patient", COUNT, "")
        assert (row.low, row.high) != (single[metric].low, single[metric].high)
    with pytest.raises(StructureError, match="Unknown column of --group 'patient'.*label.patient"):
        compare_kept(store, "good", "poor", group="patient")
