"""What the shell offers after an option: names of models, datasets, methods, suites, recipes, aligners; no torch.

Nothing here may print or fail: a shell that asks while a store is damaged gets an empty list.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from structure.store import Store

Words = Callable[[typer.Context, str], list[str]]


def _offering(known: Callable[[typer.Context], Iterable[str]]) -> Words:
    """Those of the known words that begin with what was typed."""

    def offer(context: typer.Context, incomplete: str) -> list[str]:
        try:
            return sorted({word for word in known(context) if word.startswith(incomplete)})
        except Exception:
            return []

    return offer


def among(words: Iterable[str]) -> Words:
    """Of these words."""
    return _offering(lambda context: words)


def _models(context: typer.Context) -> Iterable[str]:
    from structure.pipeline.encoders.catalogue import catalogue
    from structure.pipeline.encoders.registry import ENCODER_LIBRARIES

    prefixed = [
        f"{prefix}:{name}"
        for prefix in ENCODER_LIBRARIES
        for name in ENCODER_LIBRARIES[prefix]().known_names() or ("",)
    ]
    return [*catalogue(), *prefixed]


def _datasets(context: typer.Context) -> Iterable[str]:
    from structure.pipeline.datasets.registry import DATASET_KINDS

    return [f"{name}:" if DATASET_KINDS[name](name).argument == "required" else name for name in DATASET_KINDS]


def _kept_datasets(context: typer.Context) -> Iterable[str]:
    return {key.split("/")[0] for key in _store(context)}


def _methods(context: typer.Context) -> Iterable[str]:
    from structure.pipeline.aligners.registry import ALIGNERS

    return ["auto", *ALIGNERS]


def _suites(context: typer.Context) -> Iterable[str]:
    from structure.pipeline.suites.suite import suite_names

    return suite_names()


def _recipes(context: typer.Context) -> Iterable[str]:
    from structure.pipeline.recipe.schema import recipe_names

    return recipe_names()


def _aligners(context: typer.Context) -> Iterable[str]:
    return _store(context).folder("aligners").children("")


def _store(context: typer.Context) -> Store:
    from structure.cli.options import DEFAULT_STORE
    from structure.store import open_store

    return open_store(context.params.get("store") or os.environ.get("STRUCTURE_STORE") or DEFAULT_STORE)


models, datasets, kept_datasets = _offering(_models), _offering(_datasets), _offering(_kept_datasets)
methods, suites = _offering(_methods), _offering(_suites)
recipes, aligners = _offering(_recipes), _offering(_aligners)
