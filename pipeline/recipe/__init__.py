"""Recipes: extract, rank, align over a grid and seeds, evaluate, compare and report; from YAML, or built in memory."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from structure.pipeline.recipe.recipe import Recipe
    from structure.pipeline.recipe.running import RecipeRun, plan, run
    from structure.pipeline.recipe.schema import load_recipe, recipe_names
    from structure.pipeline.recipe.sweep import sweep_recipe

__all__ = ["Recipe", "RecipeRun", "load_recipe", "plan", "recipe_names", "run", "sweep_recipe"]

_HOMES = {
    "Recipe": "recipe",
    "load_recipe": "schema",
    "recipe_names": "schema",
    "RecipeRun": "running",
    "plan": "running",
    "run": "running",
    "sweep_recipe": "sweep",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
