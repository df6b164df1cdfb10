"""`structure align`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

import typer

from structure.cli import completion
from structure.cli.align_flags import PairFlags, RegulariserFlags, TrainingFlags, training_options
from structure.cli.choices import byte_count
from structure.cli.consent import agreed, show_ahead
from structure.cli.flags import DataFlags, PlanFlags, StoreFlags, TrustFlags, takes_flags
from structure.cli.sweeps import SweepFlags, first_run, run_sweep
from structure.pipeline.aligners.registry import ALIGNERS
from structure.store.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class AlignFlags(RegulariserFlags, TrainingFlags, PairFlags, SweepFlags, TrustFlags, PlanFlags, StoreFlags, DataFlags):
    """What to train, with which options, on which pairs, and how often."""

    layers: Annotated[str, typer.Option(help="auto (the newest ranking), last, or VISION_LAYER,TEXT_LAYER.")] = "auto"
    method: Annotated[
        str,
        typer.Option(
            help=", ".join(ALIGNERS),
            autocompletion=completion.methods,
        ),
    ] = "linear"
    preset: Annotated[str, typer.Option(help="default, paper or released.")] = "default"
    name: Annotated[str | None, typer.Option(help="Name of the aligner in the store.")] = None
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the place of an aligner of that name; its results are removed.")
    ] = False


@takes_flags
def align(flags: AlignFlags) -> None:
    """Train an aligner from the cached shards, with the regulariser R_S of STRUCTURE or without.

    Example: structure align --layers auto --compare regulariser=structure,none --seeds 5
    """
    from structure.cli.training import given_options, logged, show_aligned
    from structure.pipeline.aligners.options import TrainingOptions
    from structure.pipeline.recipe.steps import runs_of
    from structure.pipeline.run_context import RunContext
    from structure.pipeline.stage_requests import AlignRequest, requested_layers

    terminal = flags.terminal()
    training = given_options(training_options(flags), flags.setting or [], method=flags.method)
    data: dict[str, Any] = {
        "dataset": flags.dataset,
        "split": flags.split,
        "vision": flags.vision,
        "text": flags.text,
        "pairs": flags.pairs,
        "add": tuple(flags.add or ()),
        "unpaired": tuple(flags.unpaired or ()),
        "memory": None if flags.memory is None else byte_count("--memory", flags.memory),
    }
    if flags.are_given:
        if flags.replace:
            raise UsageError(
                "--replace is of one run: many runs replace what an earlier command made under their names."
            )
        stored = {**data, "test": flags.test}
        options = {"method": flags.method, **training}
        recipe = flags.recipe(flags.layers, preset=flags.preset, training=options, name=flags.name, stored=stored)
        request, runs = first_run(recipe, name=flags.name, device=flags.device), len(runs_of(recipe))
    else:
        base = TrainingOptions.preset(flags.preset, method=flags.method, device=flags.device)
        named: dict[str, Any] = {"test": flags.test or 0.0, "name": flags.name, "replace": flags.replace}
        recipe, request, runs = None, AlignRequest.of(flags.layers, options=base, **data, **named, **training), 1
    context = RunContext.of(
        flags.store, data_root=flags.data_root, device=flags.device, trust_remote_code=flags.trust_remote_code
    )
    requested_layers(context.store, request)  # a wrong layer is told before torch is imported
    from structure.pipeline.stages.align import SHORT_TRAINING, plan, run

    if flags.dry_run:
        show_ahead(terminal, flags.store, [part.row() for part in plan(request, context, runs=runs)])
        return
    agreed(lambda: plan(request, context, runs=runs, probe_from=SHORT_TRAINING), yes=flags.yes)
    if recipe is not None:
        run_sweep(recipe, context, terminal, tensorboard=flags.tensorboard)
        return
    with terminal.working() as listener, logged(listener, flags.tensorboard) as on_event:
        done = run(request, replace(context, on_event=on_event))
    show_aligned(terminal, done, flags.store)
