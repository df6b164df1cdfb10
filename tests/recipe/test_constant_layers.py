"""A recipe takes from the ranking which layers are constant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from structure.pipeline import import_features
from structure.pipeline.recipe.run_cache import StepResult
from structure.pipeline.recipe.schema import load_recipe
from structure.pipeline.recipe.spaced_pairs import spaced_pairs
from structure.pipeline.recipe.step_runner import StepRunner
from structure.pipeline.recipe.steps import Step
from structure.pipeline.run_context import RunContext
from structure.store import SampleItem, Samples, Store

ROWS = 120


def test_a_layer_that_is_constant_at_the_start_only_takes_part(store: Store, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    ids = [f"i{n}" for n in range(ROWS)]
    items = [SampleItem(name, (f"caption {name}",), f"{n:064x}") for n, name in enumerate(ids)]
    store.put_samples(Samples.build("things", "train", items))
    late = random.normal(size=(ROWS, 6)).astype(np.float32)
    late[:64] = 1.0
    flat = np.ones((ROWS, 6), np.float32)
    extracted = {}
    for model, layers in (("eye", {"late": late, "flat": flat}), ("ear", {"plain": random.normal(size=(ROWS, 5))})):
        side: Any = "vision" if model == "eye" else "text"
        arrays: dict[str, Any] = {name: rows.astype(np.float32) for name, rows in layers.items()}
        np.savez(tmp_path / "features.npz", ids=np.array(ids), **arrays)
        import_features(tmp_path / "features.npz", model=model, modality=side, dataset="things", store=store)
        key = f"things/train/{model}"
        result = {"features": key, "dataset": "things", "split": "train", "encoder": model}
        extracted[side] = StepResult(result, "")
    runner = StepRunner(load_recipe("demo"), RunContext(store, data_root=tmp_path, device="cpu"))
    step = Step("rank", "rank", {"k": 5, "calibrate": 0}, {"vision": "vision", "text": "text"})
    ranking = runner.work([step], extracted)[0].result
    assert ranking["constant"] == {"vision": ["flat"], "text": []}
    assert spaced_pairs(ranking, 1) == [("late", "plain")]
