"""SAIL's head and loss (arXiv 2412.04616) under the one signature of `methods.Method`."""

from __future__ import annotations

from dataclasses import replace

from structure.pipeline.aligners.arrays import Array
from structure.pipeline.aligners.checkpoint import Checkpoint
from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.aligners.training import Trained, train
from structure.pipeline.aligners.unpaired import NO_EXTRAS, Unpaired
from structure.pipeline.progress import Listener, silent


def train_sail(
    vision: Array,
    text: Array,
    *,
    options: TrainingOptions,
    validation: tuple[Array, Array] | None = None,
    groups: Array | None = None,
    extras: Unpaired = NO_EXTRAS,
    checkpoint: Checkpoint | None = None,
    on_event: Listener = silent,
) -> Trained:
    """Gated heads, pairwise sigmoid loss with learnable scale and bias; see `training.train` for the arguments.

    Its own recipe has no R_S; it is added here unless the options say `regulariser="none"`.
    """
    gated = replace(options, method="gated", loss="sigmoid", learnable_scale=True)
    trained = train(
        vision,
        text,
        options=gated,
        validation=validation,
        groups=groups,
        extras=extras,
        checkpoint=checkpoint,
        on_event=on_event,
    )
    return replace(trained, aligner=replace(trained.aligner, method="sail"))
