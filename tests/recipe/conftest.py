"""A small recipe, and a worker that counts what it is asked instead of doing it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from structure.pipeline.recipe.run_cache import StepResult
from structure.pipeline.recipe.steps import Step
from structure.pipeline.stated import digest
from structure.store import Store, open_store

SMALL: dict[str, Any] = {
    "name": "small",
    "version": 1,
    "about": "Two rankings, two choices of R_S, two seeds.",
    "encoders": [{"vision": "bundled:scenes-vit", "text": "bundled:scenes-text"}],
    "extract": {"dataset": "scenes:60", "split": "train", "layers": ["block.*"]},
    "rank": [{"name": "auto", "k": 5, "calibrate": 5}, {"name": "cka", "metric": "cka"}],
    "align": {
        "options": {"dim": 8, "epochs": 2, "batch": 32},
        "share_rate": True,
        "seeds": [1, 2],
        "grid": {"layers": ["last", "auto", "cka"], "regulariser": ["none", "structure"]},
    },
    "evaluate": {"suite": "scenes", "datasets": ["scenes/colour"]},
    "compare": [{"first": {"regulariser": "structure"}, "second": {"regulariser": "none"}}],
    "correlate": {"ranking": "auto"},
}


class Counted:
    """Stands in for the stages: an outcome that depends on the options and on every outcome that it takes."""

    def __init__(self, *, stop_after: int | None = None) -> None:
        self.done: Counter[str] = Counter()
        self.stop_after = stop_after
        self.state: dict[str, str] = {}

    def sources(self, step: Step) -> dict[str, str]:
        return {"data": self.state.get(step.stage, "as it is")}

    def intact(self, step: Step, outcome: StepResult) -> bool:
        return self.state.get(step.key) != "gone"

    def batch(self, step: Step) -> int:
        return 3 if step.stage == "evaluate" else 1

    def work(self, steps: Sequence[Step], outcomes: Mapping[str, StepResult]) -> list[StepResult]:
        made = []
        for step in steps:
            if self.stop_after is not None and sum(self.done.values()) >= self.stop_after:
                raise KeyboardInterrupt
            taken = {role: outcomes[key].digest for role, key in step.needs.items()}
            made.append(StepResult(_result(step), digest([step.stage, dict(step.options), taken, self.sources(step)])))
            self.done[step.key] += 1
        return made


def _result(step: Step) -> dict[str, Any]:
    """What the summary reads of each outcome."""
    chance = np.random.default_rng(int(digest(dict(step.options))[:8], 16))
    layers = ["block.00", "block.01", "block.02", "block.03", "block.04"]
    if step.stage == "rank":
        best = {"vision_layer": "block.00", "text_layer": "block.01"}
        scores = chance.random((5, 5)).tolist()
        sides = {"vision": {"layers": layers}, "text": {"layers": layers}}
        return {**sides, "scores": scores, "best": best, "constant": {"vision": [], "text": []}}
    if step.stage == "align":
        place = step.options.get("place", 0)
        return {"layers": {"vision": layers[place % 5], "text": layers[place // 5 % 5]}, "rate": 0.1}
    if step.stage == "evaluate":
        value = float(chance.random())
        return {
            "results": [
                {
                    "aligner": step.options["aligner"],
                    "suite": "s@1",
                    "dataset": "d",
                    "task": "t",
                    "metric": metric,
                    "value": value,
                    "low": value,
                    "high": value,
                    "n": 9,
                    "chance": 0.1,
                    "provenance": {},
                }
                for metric in ("acc1", "image_retrieval_recall@10")
            ],
            "absent": [],
        }
    return {}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """In memory: a disk that is made to sync for every entry would be most of the tests' time."""
    return open_store(f"memory:/{tmp_path}")


@pytest.fixture(scope="session")
def small() -> dict[str, Any]:
    """The document; to be copied before it is changed."""
    return SMALL


@pytest.fixture(scope="session")
def counted() -> type[Counted]:
    return Counted
