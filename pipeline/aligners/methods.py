"""Every way to align two frozen layers, by name; the code of a method is loaded when it is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Literal, Protocol, cast

from structure.pipeline.progress import Listener, silent
from structure.store.errors import unknown

if TYPE_CHECKING:
    from structure.pipeline.aligners.arrays import Array
    from structure.pipeline.aligners.checkpoint import Checkpoint
    from structure.pipeline.aligners.fit_result import FitResult
    from structure.pipeline.aligners.options import TrainingOptions
    from structure.pipeline.aligners.unpaired import Unpaired


class Method(Protocol):
    """Fits on features (n, dv), (n, dt) whose rows pair."""

    def __call__(
        self,
        vision: Array,
        text: Array,
        *,
        options: TrainingOptions,
        validation: tuple[Array, Array] | None = None,
        groups: Array | None = None,
        extras: Unpaired = ...,
        checkpoint: Checkpoint | None = None,
        on_event: Listener = silent,
    ) -> FitResult: ...


METHODS: dict[str, str] = {
    "linear": "training:train",
    "mlp": "training:train",
    "lowrank": "training:train",
    "gated": "training:train",
    "sail": "training:train",
    "csa": "closed_methods:fit_closed",
    "kernel-csa": "closed_methods:fit_closed",
    "procrustes": "closed_methods:fit_closed",
    "ridge": "closed_methods:fit_closed",
    "asif": "closed_methods:fit_closed",
    "relative": "closed_methods:fit_closed",
    "mean-shift": "closed_methods:fit_closed",
    "identity": "closed_methods:fit_closed",
    "pal": "sequence_methods:train_sequences",
    "freezealign": "sequence_methods:train_sequences",
    "sma": "sequence_methods:train_sequences",
}
"""Name -> where its `Method` is, `module:function` below this package."""

TOKEN_METHODS = ("pal", "freezealign")
"""The methods that read the tokens of a layer."""

SET_METHODS = ("sma",)
"""The methods that read several views and captions of an item."""

TRAINED = ("linear", "mlp", "lowrank", "gated", "sail", *TOKEN_METHODS, *SET_METHODS)
"""The methods that train by gradient descent; they take batches from any source."""

Inputs = Literal["rows", "tokens", "sets"]


def inputs(options: TrainingOptions) -> Inputs:
    """What an item is for this run: one vector, the tokens of a layer, or sets of views and captions."""
    if options.method in SET_METHODS:
        return "sets"
    return "tokens" if options.method in TOKEN_METHODS and options.pooling != "global" else "rows"


STREAMED = ("linear", "mlp", "lowrank", "gated", "sail", "csa", "procrustes", "ridge", "mean-shift", "identity")
"""The methods that read the pairs chunk by chunk: heads in shuffled batches, closed forms in one pass (CSA without
R_S)."""


def method(name: str) -> Method:
    """The method of that name. Raises StructureError that offers the nearest names."""
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    module, _, function = METHODS[name].partition(":")
    return cast(Method, getattr(import_module(f"structure.pipeline.aligners.{module}"), function))


def fit(
    vision: Array,
    text: Array,
    *,
    options: TrainingOptions,
    validation: tuple[Array, Array] | None = None,
    groups: Array | None = None,
    extras: Unpaired | None = None,
    checkpoint: Checkpoint | None = None,
    on_event: Listener = silent,
) -> FitResult:
    """Align by `options.method`; see `training.train` for the arguments. Every method holds out the same pairs."""
    more = {} if extras is None else {"extras": extras}
    return method(options.method)(
        vision,
        text,
        options=options,
        validation=validation,
        groups=groups,
        checkpoint=checkpoint,
        on_event=on_event,
        **more,
    )
