"""What every registered method promises: it says everything of itself, and refuses options that it does not have."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from structure.pipeline.aligners import ALIGNERS, PRESETS, Method, TrainingOptions, method
from structure.pipeline.aligners.option_effects import require_effects
from structure.pipeline.aligners.option_groups import GradientOptions, StructureOptions
from structure.pipeline.aligners.options import (
    RENAMED,
    all_option_names,
    applicable,
    option_names,
    owners,
)
from structure.pipeline.stage_requests.align import AlignRequest
from structure.store.errors import StructureError

WITHOUT_PRESET = {"kernel-csa", "procrustes", "ridge", "asif", "relative", "mean-shift", "identity"}
"""Methods of which the presets say nothing."""
WITHOUT_RELEASED = WITHOUT_PRESET | {"sotalign", "wasserstein-procrustes", "mini-vec2vec"}
"""Methods of which the authors released no settings besides the paper's."""
MATCHING = {"sotalign", "wasserstein-procrustes", "mini-vec2vec"}
"""Methods that match unpaired rows."""
WITH_STRUCTURE = {"linear", "mlp", "lowrank", "gated", "sail", "csa"}


@pytest.mark.parametrize("name", list(ALIGNERS))
class TestEveryMethod:
    def test_says_everything_of_itself(self, name: str) -> None:
        one, options = method(name), TrainingOptions(method=name)
        assert isinstance(one, Method)
        assert type(options) is one.options_class
        assert one.about.endswith(".")
        assert one.reads(options) in ("rows", "tokens", "sets")
        assert one.passes(options) >= 1
        assert one.dim(options, widths=(24, 18), pairs=100) >= 1
        assert isinstance(one.streams(options), bool)
        assert isinstance(options, StructureOptions) == options.uses_structure == (name in WITH_STRUCTURE)
        assert all(field.metadata["about"] for field in type(options).__dataclass_fields__.values())
        assert set(one.presets) <= set(PRESETS)

    def test_every_preset_gives_options_of_the_method(self, name: str) -> None:
        for preset in PRESETS:
            if name in {"default": set(), "paper": WITHOUT_PRESET, "released": WITHOUT_RELEASED}[preset]:
                with pytest.raises(StructureError, match=f"The preset {preset} sets no option of the method {name}"):
                    TrainingOptions.preset(preset, method=name)
                continue
            options = TrainingOptions.preset(preset, method=name)
            assert (options.method, type(options)) == (name, method(name).options_class)
            if isinstance(options, GradientOptions):
                assert options.epochs == (300 if preset == "default" else 1000)

    def test_says_what_it_makes_of_unpaired_rows(self, name: str) -> None:
        one, options = method(name), TrainingOptions(method=name)
        use = one.use_of_unpaired(options)
        assert use == ("required" if name in MATCHING else "optional" if name in WITH_STRUCTURE else "unused")
        assert one.least_pairs == {"sotalign": 1, "wasserstein-procrustes": 0, "mini-vec2vec": 0}.get(
            name, 8 if one.chooses_epoch else 2
        )
        assert one.reads_pairs == (name != "mini-vec2vec")

    def test_refuses_what_other_methods_have(self, name: str) -> None:
        for foreign in set(all_option_names()) - set(option_names(name)):
            with pytest.raises(StructureError, match=f"The method {name} has no option '{foreign}'") as told:
                TrainingOptions.preset("default", method=name, **{foreign: 1})
            assert f"Methods with it: {', '.join(owners(foreign))}." in str(told.value)

    def test_every_number_has_a_range_and_is_refused_outside(self, name: str) -> None:
        for field in fields(TrainingOptions(method=name)):
            bounds, kinds = field.metadata["bounds"], str(field.type)
            if "int" not in kinds and "float" not in kinds:
                continue
            assert bounds.are_stated, f"{field.name} of {name} has no range"
            edges = [(bounds.above, 0), (bounds.least, -1), (bounds.below, 0), (bounds.most, 1)]
            outside: list[Any] = [edge + step for edge, step in edges if edge is not None]
            for value in [*outside, *((float("nan"), float("inf")) if "float" in kinds else (True, 2.5))]:
                with pytest.raises(StructureError, match=rf"(?i){field.name.replace('_', '.')} is ") as told:
                    TrainingOptions(method=name, **{field.name: value})
                assert str(value) in str(told.value)
                assert str(bounds) in str(told.value) or value in (True, 2.5)

    def test_idle_options_count_again_with_the_value_that_is_told(self, name: str) -> None:
        options = TrainingOptions(method=name)
        known = {field.name for field in fields(options)}
        assert set(options.idle) <= known
        for idle, (other, value) in options.idle.items():
            assert other in known - {idle}
            assert idle not in options.changed(**{other: value}).idle


@pytest.mark.parametrize(("method", "options", "said"), [
    ("linear", {"regulariser": "none", "weight": 50.0}, "weight changes nothing with regulariser=none"),
    ("csa", {"regulariser": "none", "batch": 64}, "batch changes nothing with regulariser=none"),
    ("linear", {"regulariser": "none", "warm_up": 0.5}, "Leave warm_up out, or choose regulariser=structure."),
    ("linear", {"gamma": 2.0}, "or choose similarity=rbf"),
    ("linear", {"weighting": "uniform"}, "weighting changes nothing with levels=1"),
    ("mlp", {"scale": 5.0}, "or choose loss=sigmoid"),
    ("pal", {"loss": "sigmoid", "temperature": 0.1}, "temperature changes nothing with loss=sigmoid"),
    ("linear", {"learning_rate": 0.1, "least_rate": 0.01}, r"or leave out learning_rate \(--lr\)"),
    ("linear", {"warm_up": 0.5, "warm_up_steps": 5}, "or leave out warm_up_steps"),
    ("pal", {"pooling": "mean", "pool_temperature": 0.1}, "or choose pooling=attention"),
    ("sma", {"ridge": 0.3}, "or choose information=logdetmi"),
])  # fmt: skip
def test_an_option_that_changes_nothing_is_refused(method: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(StructureError, match=said):
        AlignRequest.of("last", method=method, **options)


def test_the_temperature_of_r_s_counts_beside_the_sigmoid_loss() -> None:
    assert AlignRequest.of("last", method="linear", loss="sigmoid", temperature=0.1).options.temperature == 0.1
    with pytest.raises(StructureError, match="temperature changes nothing with loss=sigmoid"):
        AlignRequest.of("last", method="linear", loss="sigmoid", temperature=0.1, regulariser="none")


@pytest.mark.parametrize("method", ["ridge", "pal", "procrustes"])
def test_unpaired_rows_that_nothing_sees_are_refused(method: str) -> None:
    with pytest.raises(StructureError, match=f"--unpaired changes nothing.*{method} trains without it"):
        AlignRequest.of("last", method=method, unpaired=["coco/train"])
    assert AlignRequest.of("last", unpaired=["coco/train"], extra_rows=9).options.uses_structure
    with pytest.raises(StructureError, match="extra_rows is of unpaired rows: it changes nothing without --unpaired"):
        AlignRequest.of("last", extra_rows=9)


NUMBERS = {
    "seed": st.integers(0, 10**6),
    "dim": st.integers(1, 10**4),
    "weight": st.floats(0, 100),
    "epochs": st.integers(1, 10**4),
    "learning_rate": st.none() | st.floats(1e-6, 1),
    "centre_first": st.booleans(),
    "ridge": st.floats(0, 1),
    "anchors": st.integers(1, 999),
    "regulariser": st.sampled_from(["structure", "none"]),
}


@given(name=st.sampled_from(list(ALIGNERS)), values=st.fixed_dictionaries(NUMBERS))
def test_options_go_to_a_record_and_back(name: str, values: dict[str, object]) -> None:
    options = TrainingOptions(**applicable({"method": name, **values}))
    record = options.to_dict()
    assert TrainingOptions(**record) == options
    assert record.keys() == set(option_names(name))
    assert all(record[key] == value for key, value in values.items() if key in record)
    assert options.changed(**record) == options


def test_another_method_keeps_what_was_chosen_and_both_have() -> None:
    ridge = TrainingOptions(method="ridge", seed=7)
    csa = ridge.changed(method="csa").to_dict()
    assert (csa["seed"], csa["ridge"]) == (7, None)  # 0.1 is the default of ridge, not a choice
    assert ridge.changed(ridge=0.2).changed(method="csa").to_dict()["ridge"] == 0.2
    pal = TrainingOptions.preset("paper", weight=3.0).changed(method="pal").to_dict()
    assert (pal["epochs"], pal["patience"], "weight" in pal) == (1000, 200, False)


def test_a_grid_refuses_only_what_none_of_its_methods_has() -> None:
    cells = [{"method": name, "ridge": 0.1, "weight": 2.0} for name in ("ridge", "linear")]
    require_effects(cells, preset="default")
    assert [applicable(cell) for cell in cells] == [
        {"method": "ridge", "ridge": 0.1},
        {"method": "linear", "weight": 2.0},
    ]
    with pytest.raises(StructureError, match="The methods ridge, linear have no option 'pooling'.*with it: pal"):
        require_effects([{**cell, "pooling": "mean"} for cell in cells], preset="default")
    with pytest.raises(StructureError, match="Did you mean weight"):
        require_effects([{"wieght": 1}], preset="default")


def test_what_a_method_consists_of_cannot_be_changed() -> None:
    assert TrainingOptions(method="sail", loss="sigmoid") == TrainingOptions(method="sail")
    with pytest.raises(StructureError, match=r"loss 'info_nce'.*sigmoid"):
        TrainingOptions(method="sail", loss="info_nce")


def test_old_names_of_options_are_told() -> None:
    for old, new in RENAMED.items():
        with pytest.warns(FutureWarning, match=f"'{old}' is called '{new}' now"):
            assert TrainingOptions.preset("default", **{old: 0.5}).to_dict()[new] == 0.5
        with pytest.raises(StructureError, match=f"'{old}' is called '{new}' now"):
            TrainingOptions(**{old: 0.5})
        assert TrainingOptions.parse(old, "0.5") == 0.5


@pytest.mark.parametrize(("text", "value"), [
    ("ridge=none", None), ("ridge=0.5", 0.5), ("refit=true", True), ("levels=2", 2), ("loss=sigmoid", "sigmoid"),
    ("learnable_scale=false", False), ("hidden=none", None),
])  # fmt: skip
def test_texts_of_values(text: str, value: object) -> None:
    name, _, said = text.partition("=")
    parsed = TrainingOptions.parse(name, said)
    assert (parsed, type(parsed)) == (value, type(value))


def test_methods_and_options_are_known_without_torch() -> None:
    code = (
        "import sys; from structure.pipeline.aligners import ALIGNERS, TrainingOptions, method\n"
        "for name in ALIGNERS: method(name).reads(TrainingOptions(method=name))\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
