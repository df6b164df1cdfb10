"""Train two light heads from paired features: range test, warm-up, early stopping, best weights restored."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from structure.pipeline.aligners.aligner import Aligner
from structure.pipeline.aligners.arrays import Array, as_tensor, check_pairs
from structure.pipeline.aligners.batches import BatchSource, pairs_source
from structure.pipeline.aligners.best_epoch import BestEpoch, earlier_state, save_state
from structure.pipeline.aligners.checkpoint import Checkpoint
from structure.pipeline.aligners.fit_result import FitResult
from structure.pipeline.aligners.held_out import LEAST_PAIRS, held_out
from structure.pipeline.aligners.lr_range_test import RateCurve
from structure.pipeline.aligners.option_groups import GradientOptions, MixOptions
from structure.pipeline.aligners.trainer import Trainer, rate_test, within
from structure.pipeline.aligners.training_data import TrainingData
from structure.pipeline.aligners.unpaired import NO_EXTRAS, Unpaired
from structure.pipeline.aligners.versions import versions
from structure.pipeline.progress import Listener, Note, Progress, silent
from structure.store.errors import StructureError


def pick_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU. Raises StructureError for a device this machine lacks."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise StructureError(f"Device {name!r} cannot be used here: {error}. Pass --device cpu or auto.") from error
    return device


def train(
    data: TrainingData,
    options: GradientOptions,
    *,
    checkpoint: Checkpoint | None = None,
    on_event: Listener = silent,
) -> FitResult:
    """Train the heads of `options.method` on features (n, dv) and (n, dt); see `Method.fit`.

    Raises StructureError also for a run that diverges.
    """
    vision, text, validation, extras = data.vision, data.text, data.validation, data.unpaired or NO_EXTRAS
    check_pairs(vision, text, least=LEAST_PAIRS, why="training")
    extras.check(data.widths)
    if extras and not options.uses_structure:
        on_event(Note(f"{options.method} trains without R_S here: unpaired rows are not used"))
    everything = (vision, text)
    if validation is None:
        chosen, out = held_out(len(vision), share=options.validation, seed=options.seed, groups=data.groups)
        validation = (vision[out][:], text[out][:])  # read now, where rows are read on demand
        vision, text = vision[chosen], text[chosen]
    else:
        check_pairs(*validation, least=2, why="validation")
        everything = (_joined(vision, validation[0]), _joined(text, validation[1]))
    device = pick_device(options.device)
    mix = options.mix if isinstance(options, MixOptions) else None

    def source(pair: tuple[Array, Array]) -> BatchSource:
        return pairs_source(*pair, batch=options.batch, device=device, mix=mix, memory=data.memory)

    if len(vision) < options.batch:
        on_event(Note(f"one batch holds all {len(vision):,} training pairs: there are no {options.batch:,}"))
    return choose_and_refit(
        source((vision, text)),
        lambda: source(everything),
        validation=validation,
        options=options,
        extras=extras,
        checkpoint=checkpoint,
        on_event=on_event,
    )


def choose_and_refit(
    source: BatchSource,
    everything: Callable[[], BatchSource],
    *,
    validation: tuple[Any, Any],
    options: GradientOptions,
    extras: Unpaired = NO_EXTRAS,
    checkpoint: Checkpoint | None = None,
    on_event: Listener = silent,
) -> FitResult:
    """`train_source`, then `refit` on all pairs where the options ask for it; then the checkpoints go."""
    given: Any = {"options": options, "extras": extras, "checkpoint": checkpoint, "on_event": on_event}
    trained = train_source(source, validation=validation, **given)
    if options.refit:
        trained = refit(trained, everything(), **given)
    if checkpoint is not None:
        for phase in (checkpoint, checkpoint.of("refit")):
            phase.remove()
    return trained


def train_source(
    source: BatchSource,
    *,
    validation: tuple[Array, Array],
    options: GradientOptions,
    extras: Unpaired = NO_EXTRAS,
    checkpoint: Checkpoint | None = None,
    on_event: Listener = silent,
) -> FitResult:
    """`train` over any source of batches; `validation` are paired features in memory. The checkpoint stays."""
    device = pick_device(options.device)
    extras = extras.to(device)
    state = BestEpoch()
    earlier = earlier_state(checkpoint, on_event)
    if earlier is not None:
        state = BestEpoch(**earlier[1]["outcome"])
        state.best_state = within("best", earlier[0])
        on_event(Note(f"goes on after epoch {len(state.history)}, from the checkpoint of an earlier run"))
    began = time.perf_counter() - state.seconds
    curve = None if state.curve is None else RateCurve.of(state.curve)
    if options.learning_rate is not None:
        state.rate = options.learning_rate
    elif curve is None:
        curve = rate_test(source, extras, options, device)
        state.curve, state.rate = vars(curve), curve.chosen
        on_event(Note(f"learning rate {curve.chosen:.3g}" + (f" ({curve.note})" if curve.note else "")))
    run = Trainer(source, validation=validation, extras=extras, options=options, rate=state.rate, device=device)
    if earlier is not None:
        run.resume(*earlier)
    written = time.perf_counter()
    while len(state.history) < options.epochs and not state.is_over(options.patience):
        row = run.epoch(len(state.history) + 1)
        state.seconds = row["seconds"] = time.perf_counter() - began
        if state.take(row, options):
            state.best_state = {name: value.detach().clone() for name, value in run.objective.state_dict().items()}
        on_event(Progress(f"training {options.method}", len(state.history), options.epochs, "epochs", row))
        if checkpoint is not None and time.perf_counter() - written >= checkpoint.every:
            save_state(checkpoint, run, state)
            written = time.perf_counter()
    if len(state.history) < options.epochs:
        on_event(Note(f"stopped after epoch {len(state.history)}: the best was {state.best_epoch}"))
    elif state.best_epoch == options.epochs:
        on_event(Note(f"the last epoch, {options.epochs}, is the best: more --epochs or a larger --lr may do better"))
    if checkpoint is not None and options.refit:
        save_state(checkpoint, run, state)
    run.objective.load_state_dict(state.best_state)
    best = state.history[state.best_epoch - 1]
    metrics = {name.removeprefix("val_"): value for name, value in best.items() if name.startswith("val_")}
    facts = {
        "pairs": source.rows,
        "validation_pairs": len(validation[0]),
        "options": options.to_dict(),
        "rate": state.rate,
        "epochs": len(state.history),
        "best_epoch": state.best_epoch,
        "metrics": metrics,
        "unpaired": {"vision": _count(extras.vision), "text": _count(extras.text)},
        "device": str(device),
        "versions": versions(),
    }
    return FitResult(
        _aligner(run, options, facts),
        history=state.history,
        metrics=metrics,
        curve=curve,
        rate=state.rate,
        pairs=source.rows,
        validation_pairs=len(validation[0]),
        epochs=len(state.history),
        best_epoch=state.best_epoch,
        seconds=state.seconds,
        pairs_per_second=source.rows * len(state.history) / state.seconds,
    )


def refit(
    trained: FitResult,
    source: BatchSource,
    *,
    options: GradientOptions,
    extras: Unpaired = NO_EXTRAS,
    checkpoint: Checkpoint | None = None,
    on_event: Listener = silent,
) -> FitResult:
    """The run again over `source`, all pairs with the held-out ones, for the epochs that were chosen.

    Same first weights, rate and schedule. No pair is left to evaluate it on: the metrics stay those of the choice.
    """
    device = pick_device(options.device)
    mine = None if checkpoint is None else checkpoint.of("refit")
    earlier = earlier_state(mine, on_event)
    began = time.perf_counter()
    rate = trained.rate or 0.0
    run = Trainer(source, validation=None, extras=extras.to(device), options=options, rate=rate, device=device)
    state = BestEpoch(rate=rate)
    if earlier is not None:
        state = BestEpoch(**earlier[1]["outcome"])
        run.resume(*earlier)
    written = time.perf_counter()
    for epoch in range(len(state.history) + 1, trained.best_epoch + 1):
        state.history.append(run.epoch(epoch))
        on_event(Progress(f"training {options.method} on all pairs", epoch, trained.best_epoch, "epochs"))
        if mine is not None and time.perf_counter() - written >= mine.every:
            save_state(mine, run, state)
            written = time.perf_counter()
    facts = {**trained.aligner.metadata, "refit_pairs": source.rows}
    seconds = trained.seconds + time.perf_counter() - began
    return replace(trained, aligner=_aligner(run, options, facts), refit_pairs=source.rows, seconds=seconds)


def _aligner(run: Trainer, options: GradientOptions, facts: Mapping[str, Any]) -> Aligner:
    heads = [head.eval().requires_grad_(False) for head in (run.objective.vision, run.objective.text)]
    scale = float(run.objective.log_scale.detach().exp())
    return Aligner(heads[0], heads[1], options.method, {**facts, "scale": scale})


def _count(rows: Array | None) -> int:
    return 0 if rows is None else len(rows)


def _joined(first: Array, second: Array) -> torch.Tensor:
    one = as_tensor(first)
    return torch.cat([one, as_tensor(second).to(one)])
