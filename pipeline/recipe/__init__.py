"""Recipes: extract, rank, align over a grid and seeds, evaluate, compare and report, written down as YAML."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from structure.pipeline.recipe.running import RecipeRun, outlook, run
    from structure.pipeline.recipe.schema import Recipe, load_recipe, recipe_names

__all__ = ["Recipe", "RecipeRun", "load_recipe", "outlook", "recipe_names", "run"]

_HOMES = {
    "Recipe": "schema",
    "load_recipe": "schema",
    "recipe_names": "schema",
    "RecipeRun": "running",
    "outlook": "running",
    "run": "running",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
