"""A changed field runs exactly what depends on it; a recipe killed anywhere ends as one that was not."""

from __future__ import annotations

import copy
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from structure.pipeline.aligners.options import TrainingOptions, option_names
from structure.pipeline.aligners.registry import ALIGNERS
from structure.pipeline.recipe import running, schema
from structure.pipeline.recipe.run_cache import RunCache
from structure.pipeline.recipe.steps import Step, steps_of
from structure.pipeline.run_context import RunContext
from structure.pipeline.stated import digest, stated
from structure.pipeline.suites.suite import load_suite, suite_names
from structure.pipeline.yaml_file import parse_yaml
from structure.pipeline.yaml_record import keys_of
from structure.store import Store, StructureError, open_store
from tests.light_command import run_light
from tests.warm import Warm


def steps(document: dict[str, Any]) -> tuple[Step, ...]:
    return _steps(json.dumps(document))


@cache
def _steps(text: str) -> tuple[Step, ...]:
    return steps_of(schema.read(parse_yaml(text, name="small.yaml")))


def ran(document: dict[str, Any], store: Store, worker: Any) -> set[str]:
    """The steps that the worker is asked to do."""
    running.carry_out(steps(document), RunCache(store, document["name"]), worker, {})
    assert set(worker.done.values()) <= {1}
    return set(worker.done)


def test_results_stand_in_the_order_of_the_steps_whatever_was_cached(
    small: dict[str, Any], store: Store, counted: Any
) -> None:
    cache = RunCache(store, small["name"])
    whole = list(running.carry_out(steps(small), cache, counted(), {}))
    assert whole == [step.key for step in steps(small)]
    worker = counted()
    worker.state[next(key for key in whole if key.startswith("evaluate/"))] = "gone"
    assert list(running.carry_out(steps(small), cache, worker, {})) == whole


def put(document: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(document)
    here: Any = changed
    *way, last = place.split(".")
    for step in way:
        here = here[int(step)] if isinstance(here, list) else here.setdefault(step, {})
    here[last] = value
    return changed


def everything(key: str) -> bool:
    return True


def after_extraction(key: str) -> bool:
    return not key.startswith(("extract/", "rank/"))


def page(key: str) -> bool:
    return key == "report"


def of_ranking(name: str) -> Callable[[str], bool]:
    return lambda key: key in (f"rank/{name}", "report") or f"small-{name}-" in key


def scoring(key: str) -> bool:
    return key == "report" or key.startswith("evaluate/")


CHANGES: dict[str, tuple[Any, Callable[[str], bool]]] = {
    "name": ("other", everything),
    "version": (2, page),
    "about": ("Something else.", page),
    "encoders.0.vision": ("dinov2", lambda key: key != "extract/bundled-scenes-text"),
    "encoders.0.text": ("minilm", lambda key: key != "extract/bundled-scenes-vit"),
    "extract.dataset": ("scenes:61", everything),
    "extract.split": ("val", everything),
    "extract.layers": (["*"], everything),
    "extract.pool": (["mean"], everything),
    "extract.tokens": (["block.02"], everything),
    "extract.views": (2, lambda key: key != "extract/bundled-scenes-text"),
    "extract.captions": ("all", lambda key: key != "extract/bundled-scenes-vit"),
    "extract.limit": (50, everything),
    "extract.dtype": ("fp32", everything),
    "extract.amp": ("off", everything),
    "rank.0.metric": ("cknna", of_ranking("auto")),
    "rank.0.k": (7, of_ranking("auto")),
    "rank.0.samples": (40, of_ranking("auto")),
    "rank.0.calibrate": (6, of_ranking("auto")),
    "rank.0.preset": ("platonic", of_ranking("auto")),
    "rank.0.seed": (1, of_ranking("auto")),
    "rank.0.group": ("label.shape", of_ranking("auto")),
    "align.preset": ("paper", after_extraction),
    "align.share_rate": (False, lambda key: page(key) or ("seed" in key and not key.endswith("structure-seed1"))),
    "align.seeds": ([1, 2, 3], lambda key: page(key) or key.endswith("seed3")),
    "align.pairs": (30, after_extraction),
    "align.grid.temperature": ([0.05, 0.1], after_extraction),
    "evaluate.suite": ("retrieval", scoring),
    "evaluate.datasets": (["scenes/count"], scoring),
    "evaluate.prompts": ("plain", scoring),
    "compare": ([], page),
    "correlate.ranking": ("cka", page),
    "correlate.metrics": (["acc1"], page),
}


def other(option: str, training: dict[str, Any]) -> Any:
    """A value that the option does not have in the recipe."""
    options = TrainingOptions(**training)
    value = getattr(options, option)
    if isinstance(value, str):
        known = ALIGNERS if option == "method" else get_args(get_type_hints(type(options))[option])
        return next(word for word in known if word != value)
    if isinstance(value, bool):
        return not value
    return 1 if value is None else value / 2 if isinstance(value, float) else value + 1


def test_the_tables_below_name_every_field_of_the_schema() -> None:
    named = {place.split(".")[0] for place in CHANGES}
    assert named | {"rank", "align"} == set(keys_of(schema.Document))
    for section, known in (
        ("extract", keys_of(schema.Extract)),
        ("rank.0", keys_of(schema.Rank)),
        ("align", keys_of(schema.Align)),
        ("evaluate", keys_of(schema.Evaluate)),
        ("correlate", keys_of(schema.Correlate)),
    ):
        fields = {p.removeprefix(f"{section}.").split(".")[0] for p in CHANGES if p.startswith(f"{section}.")}
        # permute means nothing without group, and is an option of the same step
        assert fields | {"name", "options", "permute"} >= set(known), section


TRAINING = [f"align.options.{name}" for name in option_names("linear") if name not in schema.ELSEWHERE]


@pytest.mark.parametrize("place", [*CHANGES, *TRAINING])
def test_a_changed_field_runs_exactly_what_depends_on_it(
    place: str, store: Store, small: dict[str, Any], counted: Any
) -> None:
    if place in CHANGES:
        value, expected = CHANGES[place]
    elif place == "align.options.regulariser":
        value, expected = "none", lambda key: False  # the grid says otherwise for every cell
    else:
        option, expected = place.rpartition(".")[2], after_extraction
        value, idle = other(option, small["align"]["options"]), TrainingOptions(**small["align"]["options"]).idle
        if option in idle:  # it counts only with another one, from the start
            small = put(small, f"align.options.{idle[option][0]}", idle[option][1])
    assert ran(small, store, counted()) == {step.key for step in steps(small)}
    changed = put(small, place, value)
    statuses = running.statuses(steps(changed), RunCache(store, changed["name"]), counted())
    now = ran(changed, store, counted())
    assert now == {step.key for step in steps(changed) if expected(step.key)}
    assert now == {status.step.key for status in statuses if status.state != "done"}
    assert ran(changed, store, counted()) == set()


@pytest.mark.parametrize(
    ("what", "state", "expected"),
    [
        ("extract", "new images", everything),
        ("evaluate", "new test images", scoring),
        ("align/small-auto-none-seed2", "gone", lambda key: key == "align/small-auto-none-seed2"),
        ("rank/cka", "gone", lambda key: key == "rank/cka"),
    ],
)
def test_changed_data_and_lost_files_are_noticed(
    what: str, state: str, expected: Callable[[str], bool], store: Store, small: dict[str, Any], counted: Any
) -> None:
    ran(small, store, counted())
    worker = counted()
    worker.state[what] = state
    # What is gone is done again with the same outcome, so that what needs it stays.
    assert ran(small, store, worker) == {step.key for step in steps(small) if expected(step.key)}


@given(stops=st.lists(st.integers(0, 12), max_size=8))
@settings(max_examples=15, deadline=None)
def test_interrupted_anywhere_it_ends_as_if_nothing_had_happened(
    stops: list[int], tmp_path_factory: pytest.TempPathFactory, small: dict[str, Any], counted: Any
) -> None:
    whole, broken = (open_store(f"memory:/{tmp_path_factory.mktemp('runs')}") for _ in range(2))
    expected = running.carry_out(steps(small), RunCache(whole, "small"), counted(), {})
    asked = 0
    for stop in stops:
        worker = counted(stop_after=stop)
        try:
            running.carry_out(steps(small), RunCache(broken, "small"), worker, {})
        except KeyboardInterrupt:
            asked += sum(worker.done.values())
    last = counted()
    found = running.carry_out(steps(small), RunCache(broken, "small"), last, {})
    assert {key: outcome.digest for key, outcome in found.items()} == {k: o.digest for k, o in expected.items()}
    # Three evaluations are saved together: two may have been done in vain at each stop.
    assert asked + sum(last.done.values()) <= len(expected) + 2 * len(stops)


def test_half_written_entries_count_as_not_done(store: Store, small: dict[str, Any], counted: Any) -> None:
    ran(small, store, counted())
    key = "recipes/small/rank/auto.json"
    store.files.write(key, store.files.read(key)[:40])
    assert ran(small, store, counted()) == {"rank/auto"}


TINY: dict[str, Any] = {
    "name": "tiny",
    "about": "Killed in the tests.",
    "encoders": [{"vision": "bundled:scenes-vit", "text": "bundled:scenes-text"}],
    "extract": {"dataset": "scenes:64", "layers": ["block.*"]},
    "rank": [{"k": 5, "calibrate": 3}],
    "align": {
        "options": {"dim": 8, "epochs": 3, "batch": 32, "learning_rate": 0.01},
        "seeds": [1, 2],
        "grid": {"layers": {"ranking": "auto", "spread": 3}},
    },
    "evaluate": {
        "suite": {
            "defaults": {"dataset": "scenes:30", "split": "test", "metric": "acc1", "prompts": "plain"},
            "tasks": [{"label": "colour", "kind": "zeroshot_classification"}],
        }
    },
    "correlate": {},
}


def test_a_recipe_killed_twice_ends_with_the_results_of_one_that_was_not(tmp_path: Path, warm: Warm) -> None:
    """kill -9, once while it extracts or ranks and once while it trains; then the same command to the end."""
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(TINY))
    command = ["run", str(file), "--quiet", "--store", str(tmp_path / "killed")]
    chance = random.Random(time.time_ns())
    for waited in ("features/*/*/*/manifest.json", "recipes/tiny/align/*.json"):
        process = warm.start("from structure.cli.main import main; main()", *command)
        while process.poll() is None and not list((tmp_path / "killed").glob(waited)):
            time.sleep(0.01)
        time.sleep(chance.random() * 0.3)
        process.kill()
        process.wait()
    killed = running.run(str(file), RunContext.of(tmp_path / "killed", device="cpu"))
    whole = running.run(str(file), RunContext.of(tmp_path / "whole", device="cpu"))
    assert killed.summary.to_json() == whole.summary.to_json()
    for name in ("similarity.csv", "similarity.png"):
        ours, theirs = ((tmp_path / s / "reports/tiny" / name).read_bytes() for s in ("killed", "whole"))
        assert ours == theirs
    for path in (tmp_path / "whole/aligners").glob("*/aligner.safetensors"):
        assert (tmp_path / "killed/aligners" / path.parent.name / path.name).read_bytes() == path.read_bytes()
    assert {was for _, was, _ in killed.steps} == {"ran", "cached"}
    (found,) = [c for c in whole.summary.correlations if c.metric == "acc1"]
    assert len(found.points) == 3
    assert 'id="correlations"' in Path(whole.report).read_text()
    (tmp_path / "whole").rename(tmp_path / "moved")
    moved = running.run(str(file), RunContext.of(tmp_path / "moved", device="cpu"))
    assert {was for _, was, _ in moved.steps} == {"cached"}
    assert moved.report == str(tmp_path / "moved/reports/tiny/report.html")
    assert "0 steps ran" in run_light("run", str(file), "--store", str(tmp_path / "moved"))


def test_two_runs_of_a_recipe_do_not_work_at_once(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    plan = schema.read(parse_yaml(yaml.safe_dump(TINY), name="tiny.yaml"))
    with (
        running.Lease(store.files, RunCache(store, "tiny").lock, what=""),
        pytest.raises(StructureError, match="tiny is being written by process"),
    ):
        running.run(plan, RunContext(store))


def test_what_a_suite_says_is_told_by_its_fields_and_new_empty_ones_change_nothing() -> None:
    @dataclass(frozen=True)
    class Old:
        dataset: str
        ks: tuple[int, ...] = (1, 5)
        inner: Any = None

    @dataclass(frozen=True)
    class New(Old):
        more: str = ""

    assert stated(Old("coco")) == stated(New("coco")) == {"dataset": "coco"}
    assert stated(New("coco", more="x")) == {"dataset": "coco", "more": "x"}
    assert stated((Old("a", inner={"b": Old("c", (1,))}),)) == [
        {"dataset": "a", "inner": {"b": {"dataset": "c", "ks": [1]}}}
    ]
    assert stated(New("coco", more="x"), without=("more",)) == {"dataset": "coco"}
    told = {name: digest(stated(load_suite(name).select(()))) for name in suite_names()}
    assert len(set(told.values())) == len(told)


@pytest.mark.parametrize("changes", [
    ["evaluate.suite=nosuch"],
    ["evaluate.datasets=[nosuch]"],
    ["evaluate.prompts=nosuch"],
])  # fmt: skip
def test_names_of_the_evaluation_are_told_before_the_first_step(changes: list[str], store: Store) -> None:
    with pytest.raises(StructureError, match="Unknown .*'nosuch'"):
        running.run("demo", RunContext(store), changes=changes)
    assert store.files.keys("") == []
