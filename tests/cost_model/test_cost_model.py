"""The cost model: its sizes are those of the store, its times those of the measured table, and nothing is a guess."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from structure.pipeline.cost_model.measured_rates import measured_rates
from structure.pipeline.cost_model.model_size import ModelSize, model_size
from structure.pipeline.cost_model.plan import CostPlan, plan_costs
from structure.pipeline.cost_model.quantity import Quantity, unknown
from structure.pipeline.cost_model.ranking_cost import neighbours_of
from structure.pipeline.cost_model.shown import shown_bytes, shown_time
from structure.pipeline.cost_model.workload import ROWS, Machine, Workload
from structure.pipeline.encoders.catalogue import catalogue
from structure.pipeline.ranking.neighbour_cache import NeighbourCache
from structure.pipeline.similarity.knn.neighbours import Neighbours
from structure.pipeline.similarity.knn.search_size import table_bytes
from structure.pipeline.stages.extract import extract
from structure.pipeline.stages.import_features import import_features
from structure.store import Column, FeatureSet, open_store
from structure.store.errors import UsageError

WIDTHS = {"block.00": 24, "block.01": 32, "pooled": 7}


def chunk_bytes(features: FeatureSet, root: Path) -> int:
    """What the chunks of all layers take on the disk."""
    folder = root / "features" / features.key
    return sum(path.stat().st_size for layer in features.layers for path in chunks_of(folder / layer))


def chunks_of(layer: Path) -> list[Path]:
    return [path for path in (layer / "c").rglob("*") if path.is_file()]


def of(*models: str, rows: int = 1_000_000, layers: int | None = None, machine: Machine | None = None) -> CostPlan:
    sizes = tuple(model_size(name, layers=layers) for name in models or ("dinov2", "roberta"))
    return plan_costs(Workload(rows=rows, models=sizes, machine=machine or Machine()))


def step(plan: CostPlan, name: str, way: str = "") -> Quantity:
    return next(one.seconds for one in plan.steps if one.step == name and one.way.startswith(way))


@pytest.mark.parametrize("rows", [65, 1100])
def test_bytes_and_files_of_features_are_those_on_the_disk(rows: int, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    arrays = {name: random.random((rows, width)).astype(np.float16) for name, width in WIDTHS.items()}
    np.savez(tmp_path / "f.npz", **arrays)  # type: ignore[arg-type]
    root = tmp_path / "store"
    features = import_features(tmp_path / "f.npz", model="m", modality="vision", dataset="d", store=root)
    size = ModelSize("m", "vision", tuple(Column(*each) for each in WIDTHS.items()), 0, unknown("tokens"))
    assert size.disk(rows) == chunk_bytes(features, root) > features.manifest.size
    folder = root / "features" / features.key
    chunks = [path for layer in WIDTHS for path in chunks_of(folder / layer)]
    assert size.files(rows) == len(chunks) + len(list((folder / "done").iterdir()))
    # A table of neighbours is larger by the head of its file alone.
    cache = NeighbourCache(open_store(str(root)), features, np.arange(rows))
    cache.save({"block.00": Neighbours(np.zeros((rows, 9), dtype=np.int32), False)})
    (table,) = (root / "neighbours").rglob("block.00.npz")
    assert 0 < table.stat().st_size - table_bytes(1, rows, 9) < 1024


def test_bytes_of_an_extraction_are_those_of_its_plan(tmp_path: Path) -> None:
    """Of texts, whose shards are others."""
    (done,) = extract("bundled:scenes-text", "scenes:300", store=tmp_path / "store")
    size = model_size("bundled:scenes-text")
    assert size.modality == "text"
    assert size.widths == tuple(done.features.column(layer).width for layer in done.features.layers)
    assert size.disk(300) == chunk_bytes(done.features, tmp_path / "store")


def test_every_formula_came_within_a_factor_of_two_of_what_was_measured() -> None:
    for rates in measured_rates().steps:
        assert rates.checks, rates.name
        for check in rates.checks:
            assert 0.5 <= check.ratio <= 2, (rates.name, check)
            if check.memory:
                assert 0.5 <= check.memory_by_formula / check.memory <= 2, (rates.name, check)


def test_each_step_is_planned_for_every_number_of_rows_and_more_rows_cost_more() -> None:
    plans = [of(rows=rows, machine=Machine(device="cpu", price=1.0)) for rows in ROWS]
    ways = [[(one.step, one.way.split(",")[0]) for one in plan.steps] for plan in plans]
    assert all(each == ways[0] for each in ways)
    for small, large in pairwise(plans):
        for few, many in zip(small.steps, large.steps, strict=True):
            for quantity in ("seconds", "disk", "memory"):
                assert getattr(few, quantity).value <= getattr(many, quantity).value, (few.step, few.way, quantity)
    steps = {one.step for one in plans[0].steps}
    assert steps == {"extract", "store", "import", "store verify", "rank-layers", "align", "search", "index"}


def test_what_was_measured_is_said_and_what_was_extrapolated_too() -> None:
    verify = measured_rates().step("store verify")
    most = verify.most_rows()
    inside, beyond = step(of(rows=most), "store verify"), step(of(rows=most + 1), "store verify")
    assert (inside.basis, inside.about) == ("measured", "")
    assert (beyond.basis, beyond.about) == ("formula", f"measured up to {most:,} rows")
    # A ranking of a sample is measured for more rows than one of all.
    ranking = measured_rates().step("rank-layers")
    assert ranking.most_rows("all") < ranking.most_rows()
    plan = of(rows=ranking.most_rows())
    assert step(plan, "rank-layers", "5,000 rows").basis == "measured"
    assert step(plan, "rank-layers", "--samples all").basis == "formula"


def test_extraction_is_unknown_until_something_says_how_fast_a_model_is() -> None:
    none = step(of(), "extract", "dinov2")
    assert none.value is None
    assert "--rate dinov2=SAMPLES_PER_SECOND, or --flops" in none.about
    assert "bundled:scenes-vit" in none.about
    given = step(of(machine=Machine(rates={"dinov2": 250.0})), "extract", "dinov2")
    assert (given.value, given.basis) == (4000.0, "formula")
    # 257 tokens (16 x 16 patches and one) and two operations for each parameter, at 30 % of the peak.
    assumed = step(of(machine=Machine(flops=1e14)), "extract", "dinov2")
    assert assumed.basis == "assumed"
    assert assumed.value == pytest.approx(2 * catalogue()["dinov2"].parameters * 257 * 1e6 / 0.3e14)
    # A convolution's operations are no product of parameters and tokens: only a rate says.
    assert (
        step(of("resnet50", "roberta", machine=Machine(flops=1e14, device="cpu")), "extract", "resnet50").value is None
    )


def test_workers_share_what_can_be_shared_and_cost_no_more() -> None:
    one, four = of(machine=Machine(price=2.0)), of(machine=Machine(price=2.0, workers=4))
    for alone, shared in zip(one.steps, four.steps, strict=True):
        assert alone.money(2.0) == shared.money(2.0)
        before, after = alone.elapsed(1).value, shared.elapsed(4)
        if before:
            assert after.value == pytest.approx(before / (4 if alone.is_shared else 1))
            assert (after.basis == "assumed") == alone.is_shared
    verify = next(each for each in one.steps if each.step == "store verify")
    seconds, money = verify.seconds.value, verify.money(2.0)
    assert seconds is not None
    assert money is not None
    assert money.value == pytest.approx(seconds * 2 / 3600)


def test_layers_are_the_last_ones_and_there_must_be_so_many() -> None:
    assert model_size("dinov2", layers=2).widths == (1024, 1024)
    assert [column.name for column in model_size("dinov2", layers=2).columns] == ["final_norm", "pooled"]
    with pytest.raises(UsageError, match=r"--layers 28 is more than the 27 layers of dinov2"):
        model_size("dinov2", layers=28)


def said(plan: CostPlan, *words: str) -> Sequence[bool]:
    return [any(word in sentence for sentence in plan.changes) for word in words]


def test_a_small_set_changes_nothing_and_a_large_one_is_told_what_to_do() -> None:
    roomy = Machine(memory=10**12, rates={"dinov2": 1e4, "roberta": 1e4})
    assert of(rows=5000, machine=roomy).changes == ()
    slow = replace(roomy, memory=10**9, rates={"dinov2": 10.0, "roberta": 1e4})
    words = ("--scheduler", "files", "--samples all", "in passes", "structure index")
    assert all(said(of(rows=400_000_000, machine=slow), *words))


def test_one_model_alone_is_neither_ranked_nor_aligned() -> None:
    assert {one.step for one in of("dinov2").steps} == {"extract", "store", "import", "store verify"}


def test_a_workload_that_makes_no_sense_is_refused() -> None:
    for machine in (Machine(rates={"vit-base": 3.0}), Machine()):
        names = ("dinov2", "dinov2") if not machine.rates else ("dinov2",)
        with pytest.raises(UsageError, match="--model"):
            of(*names, machine=machine)
    with pytest.raises(UsageError, match="--rows 0"):
        of(rows=0)


def test_few_rows_have_few_neighbours() -> None:
    assert [neighbours_of(rows) for rows in (1, 2, 20, 5000)] == [1, 1, 19, 35]


def test_an_unknown_quantity_has_no_value() -> None:
    with pytest.raises(ValueError, match="cannot be unknown"):
        Quantity(1.0, "unknown")
    assert unknown("why").times(3).value is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "unknown"),
        (0, "0 s"),
        (0.0031, "3.1 ms"),
        (0.9996, "1 s"),
        (12, "12 s"),
        (150, "2.5 min"),
        (9000, "2.5 h"),
        (864_000, "10 d"),
    ],
)
def test_times_fit_a_cell(seconds: float | None, words: str) -> None:
    assert shown_time(seconds) == words


def test_sizes_fit_a_cell() -> None:
    assert [shown_bytes(size) for size in (None, 0, 999, 1000, 999_899_136, 1.5e12, 2e18)] == [
        "unknown",
        "0 B",
        "999 B",
        "1 kB",
        "1 GB",
        "1.5 TB",
        "2,000 PB",
    ]
