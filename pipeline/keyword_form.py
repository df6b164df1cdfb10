"""A function with keyword options that builds a request and runs it: how the stages are called from Python."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from structure.pipeline.run_context import RunContext
from structure.store import Store

Done = TypeVar("Done")

_CONTEXT = {field.name: field for field in fields(RunContext) if field.name != "store"}


def keyword_form(
    name: str,
    request: type[Any],
    run: Callable[[Any, RunContext], Done],
    plan: Callable[[Any, RunContext], Any] | None = None,
    *,
    about: str,
    more: Sequence[str] = (),
    build: Callable[..., Any] | None = None,
) -> Callable[..., Done]:
    """`name(..., store=...)`: the fields of a request and of `RunContext` as one list of keywords.

    `build` makes the request where it takes the keywords `more` besides its fields. With a `plan` there is the keyword
    `dry_run`, which returns the plan and writes nothing. `about` begins the docstring.
    """
    signature = _signature(request, planned=plan is not None, more=more)

    def call(*nouns: Any, store: Store | str | Path, **options: Any) -> Done:
        given = signature.bind(*nouns, store=store, **options).arguments
        context = RunContext.of(given.pop("store"), **{key: given.pop(key) for key in _CONTEXT if key in given})
        dry_run = given.pop("dry_run", False)
        asked = (build or request)(**given)
        return plan(asked, context) if plan is not None and dry_run else run(asked, context)

    call.__name__ = call.__qualname__ = name
    call.__module__ = run.__module__
    call.__doc__ = f"{about}\n\n{inspect.getdoc(request)}\n\n{inspect.getdoc(RunContext)}"
    call.__signature__ = signature  # type: ignore[attr-defined]
    return call


def _signature(request: Callable[..., Any], *, planned: bool, more: Sequence[str]) -> inspect.Signature:
    """The request's parameters, then the store, then the context's fields with their defaults."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    own = [one for one in inspect.signature(request).parameters.values() if one.kind is not one.VAR_KEYWORD]
    taken = {one.name for one in own}
    parameters = [
        *(one for one in own if one.kind is not keyword),
        inspect.Parameter("store", keyword, annotation="Store | str | Path"),
        *(one for one in own if one.kind is keyword),
        *(inspect.Parameter(key, keyword, default=None) for key in more if key not in taken | set(_CONTEXT)),
        *(
            inspect.Parameter(key, keyword, default=field.default, annotation=field.type)
            for key, field in _CONTEXT.items()
            if key not in taken
        ),
    ]
    if planned:
        parameters.append(inspect.Parameter("dry_run", keyword, default=False, annotation="bool"))
    return inspect.Signature(parameters)
