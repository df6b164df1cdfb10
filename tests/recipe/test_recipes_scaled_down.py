"""The papers' recipes over tokens and sets, scaled down: the same steps on scenes, a few epochs, one seed."""

from __future__ import annotations

from pathlib import Path

import pytest

from structure.pipeline.recipe.running import run
from structure.pipeline.run_context import RunContext

SMALL = [
    "encoders.0.vision=bundled:scenes-vit",
    "encoders.0.text=bundled:scenes-text",
    "extract.dataset=scenes:48",
    "extract.split=train",
    "align.preset=default",
    "align.options.dim=8",
    "align.options.epochs=2",
    "align.options.batch=16",
    "align.options.learning_rate=0.003",
    "align.seeds=[1]",
    "evaluate.suite={tasks: [{dataset: 'scenes:40', kind: zeroshot_retrieval, metric: image_retrieval_recall@10}]}",
    "evaluate.suite.defaults={split: test}",
]
LAYERS = ["extract.layers=[block.03]", "extract.tokens=[block.03]", "align.grid.layers=['block.03,block.03']"]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("paper-pal", [*LAYERS, "align.options.anchors=16"]),
        ("paper-sma", []),
    ],
)
def test_a_papers_recipe_runs_on_scenes(name: str, changes: list[str], tmp_path: Path) -> None:
    context = RunContext.of(f"memory:/{tmp_path}", data_root=tmp_path)
    done = run(name, context, changes=[*SMALL, *changes])
    assert {was for _, was, _ in done.steps} == {"ran"}
    variants = {row.variant for row in done.summary.means}
    assert len(variants) == sum(key.startswith("align/") for key, _, _ in done.steps) >= 4
    assert done.summary.differences
    again = run(name, context, changes=[*SMALL, *changes])
    assert {was for _, was, _ in again.steps} == {"cached"}
