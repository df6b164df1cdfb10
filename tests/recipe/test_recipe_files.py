"""What a recipe may say: every shipped one makes sense, every mistake is told with its line."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from structure.pipeline.recipe import running
from structure.pipeline.recipe.run_cache import RunCache
from structure.pipeline.recipe.running import Outcomes, carry_out
from structure.pipeline.recipe.schema import load_recipe, read, recipe_names
from structure.pipeline.recipe.spaced_pairs import spaced_pairs
from structure.pipeline.recipe.steps import compared, runs_of, steps_of
from structure.pipeline.recipe.summarise import summarise
from structure.pipeline.run_context import RunContext
from structure.pipeline.yaml_file import parse_yaml
from structure.store import Store, StructureError
from structure.store.errors import UsageError


def recipe(document: dict[str, Any], **changes: Any) -> Any:
    return read(parse_yaml(yaml.safe_dump(document | changes), name="small.yaml"))


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_makes_sense_and_runs_on_stand_ins(name: str, store: Store, counted: Any) -> None:
    plan = load_recipe(name)
    assert plan.name == name
    assert plan.about
    outcomes: Outcomes = {}
    results = carry_out(steps_of(plan), RunCache(store, name), counted(), outcomes)
    assert {was for was, _ in outcomes.values()} == {"ran"}
    found = summarise(plan, results)
    assert len({row.variant for row in found.means}) == len(plan.cells) * len(plan.encoders)
    assert bool(found.differences) == bool(plan.contrasts)
    assert bool(found.correlations) == bool(plan.correlate)


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_has_a_plan_without_its_data(name: str, tmp_path: Path) -> None:
    found = running.plan(name, RunContext.of(tmp_path / "store", data_root=tmp_path / "nothing"))
    assert not found.is_running
    assert {status.state for status in found.steps} == {"pending"}
    assert not (tmp_path / "store").exists()
    here = name in ("demo", "demo-scenes", "figure2-scenes")
    assert bool(found.absent) != here
    assert all("scenes" not in entry["what"] and entry["how_to_get"] for entry in found.absent)


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (("extrct",), {}, r"line \d+: unknown key 'extrct'. Did you mean extract?"),
        (("extract", "dtpe"), "fp16", "unknown key 'dtpe'. Did you mean dtype"),
        (("extract", "limit"), "many", "'limit' is 'many'; it must be a whole number"),
        (("align", "options", "epoch"), 3, "unknown key 'epoch'. Did you mean epochs"),
        (("align", "options", "seed"), 3, "unknown key 'seed'"),
        (("align", "grid", "layer"), ["last"], "unknown key 'layer'. Did you mean layers"),
        (("align", "grid", "layers"), ["last", "aut"], "there is no ranking 'aut'. Did you mean auto"),
        (("align", "grid", "layers"), {"ranking": "auto", "spread": 1}, "N from 3"),
        (("align", "grid", "method"), ["linea"], "Did you mean linear"),
        (("align", "options", "dim"), -1, "dim is -1"),
        (("align", "seeds"), [1, 1], "each once"),
        (("align", "grid", "weight"), [1, 1], "is given twice"),
        (
            ("compare",),
            [{"first": {"regulariser": "no"}, "second": {"regulariser": "none"}}],
            "is not a cell of the grid",
        ),
        (("compare",), [{"first": {"layers": "last"}, "second": {"regulariser": "none"}}], "the same keys"),
        (("rank",), [{"name": "last"}], "cannot be called 'last'"),
        (("rank",), [{"metric": "mutual_kn"}], "Did you mean mutual_knn"),
        (("rank",), [{"k": "ryce"}], "Did you mean rice"),
        (("rank",), [{"k": 0}], "--k is 0; it must be at least 1"),
        (("rank",), [{"samples": "some"}], "a number of samples, or all"),
        (("correlate",), {"ranking": "other"}, "no ranking 'other'"),
        (("encoders",), [{"vision": "dinov2"}], "the encoder needs 'text'"),
        (("encoders",), [], "one pair or more"),
        (("version",), "two", "'version' is 'two'; it must be a whole number"),
        (("extract", "layers"), "block.*", "'layers' is 'block.\\*'; it must be a list of texts"),
        (("align", "share_rate"), 1, "'share_rate' is 1; it must be true or false"),
        (("evaluate", "suite"), 3, "'suite' is 3; it must be text or keys with values"),
        (("align", "options"), [], "found \\[\\]"),
        (("name",), "../up", "names folders"),
        (("evaluate",), {"datasets": []}, "needs 'suite'"),
    ],
)
def test_a_mistake_names_its_line(place: tuple[str, ...], value: Any, told: str, small: dict[str, Any]) -> None:
    changed = copy.deepcopy(small)
    here: Any = changed
    for step in place[:-1]:
        here = here[step]
    here[place[-1]] = value
    with pytest.raises(StructureError, match=told) as error:
        recipe(changed)
    assert str(error.value).startswith("small.yaml, line ")


def test_values_can_be_changed_from_outside(tmp_path: Path, small: dict[str, Any]) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(small))
    changed = load_recipe(str(file), ["align.seeds=[7]", "rank.0.k=9", "extract.limit=4"])
    assert (changed.seeds, changed.rank["auto"]["k"], changed.extract["limit"]) == ((7,), 9, 4)
    for wrong, told in (("seeds", "write a key"), ("rank.9.k=1", "nothing to enter"), ("align.sseeds=[1]", "seeds")):
        with pytest.raises((StructureError, UsageError), match=told):
            load_recipe(str(file), [wrong])


def test_a_comparison_goes_over_all_other_coordinates(small: dict[str, Any]) -> None:
    assert compared(recipe(small)) == [
        (f"layers={layers} regulariser=structure", f"layers={layers} regulariser=none")
        for layers in ("last", "auto", "cka")
    ]


GRIDS: list[dict[str, Any]] = [
    {"layers": ["auto", "last"], "method": ["ridge", "procrustes"]},
    {"layers": ["auto"], "method": ["linear"], "regulariser": ["none", "structure"], "options": {"epochs": 3}},
]


def several(small: dict[str, Any], grids: list[dict[str, Any]], compare: list[Any]) -> Any:
    """The small recipe with these grids."""
    align = {**small["align"], "options": {"dim": 8, "ridge": 0.5}, "grid": grids}
    return recipe(small, align=align, compare=compare)


def test_several_grids_have_axes_and_options_of_their_own(small: dict[str, Any]) -> None:
    compare = [
        {"first": {"method": "ridge"}, "second": {"method": "linear", "regulariser": "none"}},
        {"first": {"layers": "auto"}, "second": {"layers": "last"}},
    ]
    plan = several(small, GRIDS, compare)
    assert [cell.variant for cell in plan.cells] == [
        *[f"layers={layers} method={method}" for layers in ("auto", "last") for method in ("ridge", "procrustes")],
        *[f"layers=auto method=linear regulariser={name}" for name in ("none", "structure")],
    ]
    assert compared(plan) == [
        ("layers=auto method=ridge", "layers=auto method=linear regulariser=none"),
        *[(f"layers=auto method={name}", f"layers=last method={name}") for name in ("ridge", "procrustes")],
    ]
    training = {step.options["aligner"]: step.options["training"] for step in steps_of(plan) if step.stage == "align"}
    with_epochs = {name for name, options in training.items() if options.get("epochs") == 3}
    assert with_epochs == {f"small-auto-linear-{name}-seed{seed}" for name in ("none", "structure") for seed in (1, 2)}


@pytest.mark.parametrize(("grids", "told"), [
    ([], "'grid' is an empty list"),
    ([GRIDS[0], GRIDS[0]], "A grid cell is given twice"),
    ([GRIDS[0], GRIDS[1] | {"options": {"epoch": 3}}], "unknown key 'epoch'. Did you mean epochs"),
    ([GRIDS[0] | {"weight": [1, 2]}, GRIDS[1]], "The method.* no option 'weight'"),
    ([GRIDS[0], GRIDS[1] | {"weight": [1, 2]}], "The option weight changes nothing"),
])  # fmt: skip
def test_a_mistake_in_one_of_several_grids_is_told(
    grids: list[dict[str, Any]], told: str, small: dict[str, Any]
) -> None:
    with pytest.raises(StructureError, match=f"small.yaml, line .*{told}"):
        several(small, grids, [])


def test_steps_stand_after_what_they_need_and_share_a_rate_only_with_their_like(small: dict[str, Any]) -> None:
    steps = steps_of(recipe(small))
    seen: set[str] = set()
    for step in steps:
        assert set(step.needs.values()) <= seen
        assert step.key not in seen
        seen.add(step.key)
    leaders = {step.needs.get("rate") for step in steps if step.stage == "align"}
    assert leaders == {None, *(f"align/small-{layers}-structure-seed1" for layers in ("last", "auto", "cka"))}


def test_several_encoders_multiply_everything_but_their_shared_extraction(small: dict[str, Any]) -> None:
    pairs = [{"vision": "a", "text": "t"}, {"vision": "b", "text": "t"}]
    plan = recipe(small, encoders=pairs)
    assert len(runs_of(plan)) == 2 * 6 * 2
    assert sum(step.stage == "extract" for step in steps_of(plan)) == 3
    assert len({run.variant for run in runs_of(plan)}) == 12
    assert len(compared(plan)) == 6


def test_spread_pairs_cover_the_range_evenly() -> None:
    layers = [f"block.{i:02d}" for i in range(4)]
    scores = [[0.1 * i + 0.01 * j for j in range(4)] for i in range(4)]
    sides = {"vision": {"layers": layers}, "text": {"layers": layers}}
    ranking = {**sides, "scores": scores, "constant": {"vision": ["block.03"], "text": []}}
    found = spaced_pairs(ranking, 3)
    assert found == [("block.00", "block.00"), ("block.01", "block.01"), ("block.02", "block.03")]
    assert len(set(spaced_pairs(ranking, 12))) == 12
    with pytest.raises(StructureError, match="has 12 pairs of layers that vary"):
        spaced_pairs(ranking, 13)


def test_no_recipe_can_ask_for_code_that_comes_with_a_model() -> None:
    with pytest.raises(StructureError, match="unknown key 'trust_remote_code'"):
        load_recipe("demo", ["extract.trust_remote_code=true"])


@pytest.mark.parametrize(
    ("vision", "text", "said"),
    [
        ("minilm", "dinov2", "line 5.*minilm is text and stands on the vision side"),
        ("dinov2", "siglip-base", "line 6.*siglip-base is vision and stands on the text side"),
        ("dinov2", "dinov2", "dinov2 is named for both sides|dinov2 is vision and stands on the text side"),
    ],
)
def test_swapped_encoders_are_told_before_anything_runs(
    vision: str, text: str, said: str, tmp_path: Path, small: dict[str, Any]
) -> None:
    file = tmp_path / "small.yaml"
    document = {**small, "encoders": [{"vision": vision, "text": text}]}
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    with pytest.raises(StructureError, match=said):
        load_recipe(str(file))


def test_a_swapped_recipe_stops_after_its_first_extraction(tmp_path: Path, small: dict[str, Any]) -> None:
    extract = {"dataset": "scenes:12", "split": "train", "layers": ["block.00"]}
    swapped = [{"vision": "bundled:scenes-text", "text": "bundled:scenes-vit"}]
    with pytest.raises(StructureError, match="bundled:scenes-text is text and stands on the vision side"):
        running.run(recipe(small, encoders=swapped, extract=extract), RunContext.of(tmp_path / "store", device="cpu"))
