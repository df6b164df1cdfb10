"""`method: auto` in a recipe: selected for every run, beside named methods, and not run again."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from structure.pipeline import load_aligner
from structure.pipeline.recipe.running import run
from structure.pipeline.recipe.schema import read
from structure.pipeline.run_context import RunContext
from structure.pipeline.yaml_file import parse_yaml
from structure.store import open_store
from structure.store.errors import StructureError
from tests.recipe.conftest import SMALL

TASK = {"kind": "zeroshot_retrieval", "prompts": None, "dataset": "scenes:40", "split": "test"}


def recipe(**options: Any) -> Any:
    """Two runs, one of them selected."""
    made = deepcopy(SMALL) | {"rank": [{"name": "auto", "k": 5, "calibrate": 5}]}
    made["encoders"] = [{"vision": "bundled:scenes-vit", "text": "bundled:scenes-text"}]
    made["align"] = {"options": options, "seeds": [1], "grid": {"layers": ["auto"], "method": ["auto", "ridge"]}}
    made["evaluate"] = {
        "suite": {"name": "s", "version": 1, "defaults": {"metric": "image_retrieval_recall@5"}, "tasks": [TASK]}
    }
    made["compare"] = [{"first": {"method": "auto"}, "second": {"method": "ridge"}}]
    del made["correlate"]
    return read(parse_yaml(yaml.safe_dump(made), name="small"))


def test_a_recipe_selects_beside_named_methods_and_goes_on(tmp_path: Path) -> None:
    context = RunContext.of(tmp_path / "store")
    asked = recipe(candidates=["ridge", "procrustes"], folds=2)
    done = run(asked, context)
    selection = load_aligner(open_store(tmp_path / "store").folder("aligners", "small-auto-auto-seed1")).metadata
    assert selection["selection"]["folds"] == 2
    assert len({tuple(row["layers"].values()) for row in selection["selection"]["candidates"]}) > 1
    assert len(done.summary.differences) > 0
    again = run(asked, context)
    assert {outcome for key, outcome, _ in again.steps if key.startswith("align/")} == {"cached"}


def test_wrong_options_of_a_selection_are_told_with_the_recipe() -> None:
    with pytest.raises(StructureError, match="--folds 1"):
        recipe(folds=1)
