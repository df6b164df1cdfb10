"""Every way to align two frozen layers, by name; the code of a method is loaded when it is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from structure.pipeline.progress import Listener, silent
from structure.store.errors import unknown

if TYPE_CHECKING:
    from structure.pipeline.aligners.arrays import Array
    from structure.pipeline.aligners.options import TrainingOptions
    from structure.pipeline.aligners.training import Trained


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
        on_event: Listener = silent,
    ) -> Trained: ...


METHODS: dict[str, str] = {
    "linear": "training:train",
    "mlp": "training:train",
    "lowrank": "training:train",
    "gated": "training:train",
    "sail": "baselines:sail",
    "csa": "baselines:csa",
    "procrustes": "baselines:procrustes",
    "ridge": "baselines:ridge",
    "asif": "baselines:asif",
    "relative": "baselines:relative",
    "mean-shift": "baselines:mean_shift",
}
"""Name -> where its `Method` is, `module:function` below this package."""

TRAINED = ("linear", "mlp", "lowrank", "gated", "sail")
"""The methods that train by gradient descent; they take batches from any source."""


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
    on_event: Listener = silent,
) -> Trained:
    """Align by `options.method`; see `training.train` for the arguments. Every method holds out the same pairs."""
    chosen = method(options.method)
    return chosen(vision, text, options=options, validation=validation, groups=groups, on_event=on_event)
