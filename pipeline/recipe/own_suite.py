"""The suite that a recipe evaluates: one by name, or one that the recipe writes out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from structure.pipeline.recipe.recipe import Recipe
from structure.pipeline.recipe.run_cache import FOLDER
from structure.pipeline.suites.suite import Suite, load_suite, read_suite
from structure.pipeline.yaml_file import parse_yaml
from structure.store import Store
from structure.store.seals import Seal, closed

FILE = "suite.yaml"


def suite_of(recipe: Recipe) -> Suite:
    """The suite of a recipe that evaluates. Raises StructureError for one that is not there or cannot be read."""
    suite = (recipe.evaluate or {})["suite"]
    if isinstance(suite, str):
        return load_suite(suite)
    return read_suite(parse_yaml(_written_out(recipe, suite).decode(), name=f"the suite of {recipe.source}"))


def suite_named(recipe: Recipe, store: Store) -> str:
    """The suite's name, or the file of the store in which a suite that the recipe writes out is saved."""
    suite = (recipe.evaluate or {})["suite"]
    if isinstance(suite, str):
        return suite
    folder = store.folder(FOLDER, recipe.name)
    text = closed(_written_out(recipe, suite) + f"\n# {Seal.of(folder, FILE).blank}\n".encode())
    if not folder.exists(FILE) or folder.read(FILE) != text:
        folder.write(FILE, text)
    return f"{folder}/{FILE}"


def _written_out(recipe: Recipe, suite: Mapping[str, Any]) -> bytes:
    """A suite that the recipe writes out, of the recipe's dataset where it says no other; JSON is YAML."""
    defaults = {"dataset": recipe.extract["dataset"], **suite.get("defaults", {})}
    return json.dumps({"name": recipe.name, "version": 1, **suite, "defaults": defaults}, indent=1).encode()
