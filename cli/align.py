"""`structure align`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from structure.cli import completion
from structure.cli.align_flags import (
    PairFlags,
    RegulariserFlags,
    SelectionFlags,
    TrainingFlags,
    selection_options,
    training_options,
)
from structure.cli.choices import byte_count
from structure.cli.consent import agreed, show_ahead
from structure.cli.flags import DataFlags, PlanFlags, StoreFlags, TrustFlags, takes_flags
from structure.cli.pair_curves import compares_methods, run_curve
from structure.cli.sweeps import SweepFlags, first_run, run_sweep
from structure.pipeline.aligners.registry import ALIGNERS
from structure.store.errors import StructureError, UsageError

if TYPE_CHECKING:
    from structure.pipeline.recipe.recipe import Recipe
    from structure.pipeline.stage_requests.align import AlignRequest


@dataclass(frozen=True, kw_only=True)
class AlignFlags(
    SelectionFlags,
    RegulariserFlags,
    TrainingFlags,
    PairFlags,
    SweepFlags,
    TrustFlags,
    PlanFlags,
    StoreFlags,
    DataFlags,
):
    """What to train, with which options, on which pairs, and how often."""

    layers: Annotated[
        str, typer.Option(help="auto (the newest ranking), last, or VISION,TEXT: two layers, A+B for two of a side.")
    ] = "auto"
    method: Annotated[
        str | None,
        typer.Option(
            help=f"auto (selected on the training pairs; the default), {', '.join(ALIGNERS)}. Of many runs, under a "
            "preset and with --unpaired the default is linear. Several with commas: one --curve of all.",
            autocompletion=completion.methods,
        ),
    ] = None
    preset: Annotated[str, typer.Option(help="default, paper or released.")] = "default"
    name: Annotated[str | None, typer.Option(help="Name of the aligner in the store.")] = None
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the place of an aligner of that name; its results are removed.")
    ] = False

    def with_pairs_as_axis(self) -> AlignFlags:
        """The same flags with several numbers of --pairs as an axis of the grid."""
        if self.pairs is None or "," not in self.pairs:
            return self
        return replace(self, pairs=None, grid=[*(self.grid or ()), f"pairs={self.pairs}"])

    @property
    def varies_method_auto(self) -> bool:
        """Whether some of many runs have their method selected."""
        varied = [*(self.grid or ()), *([self.compare] if self.compare else [])]
        return any(text.startswith("method=") and "auto" in text[7:].split(",") for text in varied)


class MethodsInHelp(TyperCommand):
    """Help that ends with what each method does. The methods are loaded for that alone."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self.epilog = "\n\n".join(["Methods:", *(f"{name}: {_about(name)}" for name in ALIGNERS)])
        super().format_help(ctx, formatter)


def _has_epochs(request: AlignRequest, recipe: Recipe | None) -> bool:
    """Whether some run trains in epochs; a selection may choose such a method."""
    from structure.pipeline.aligners.options import option_names
    from structure.pipeline.stage_requests.align import AUTO

    methods = [request.options.method] if recipe is None else [cell.values.get("method") for cell in recipe.cells]
    known = [method or request.options.method for method in methods]
    return request.auto is not None or any(method == AUTO or "epochs" in option_names(method) for method in known)


def _about(method: str) -> str:
    """What a method says of itself, or why it cannot."""
    try:
        return str(ALIGNERS[method].about)
    except StructureError as error:  # of another package
        return str(error)


@takes_flags
def align(flags: AlignFlags) -> None:
    """Train an aligner from the cached shards; without --method, cross-validation selects method, options and layers.

    Example: structure align --layers auto --compare regulariser=structure,none --seeds 5
    """
    from structure.cli.training import counts, given_options, logged, show_aligned
    from structure.pipeline.aligners.options import DEFAULT_METHOD, TrainingOptions
    from structure.pipeline.recipe.steps import runs_of
    from structure.pipeline.run_context import RunContext
    from structure.pipeline.stage_requests.align import AUTO, AlignRequest, requested_layers

    if compares_methods(flags):
        run_curve(flags)
        return
    terminal, flags = flags.terminal(), flags.with_pairs_as_axis()
    is_open = not flags.are_given and not flags.unpaired and flags.preset == "default"
    is_auto = flags.method == AUTO or (flags.method is None and is_open)
    method = DEFAULT_METHOD if flags.method in (None, AUTO) else flags.method
    selection = selection_options(flags)
    if is_auto and flags.preset != "default":
        raise UsageError("A preset is of named methods: leave --preset out, or name a --method.")
    if selection and not is_auto and not flags.varies_method_auto:
        raise UsageError(f"--{next(iter(selection)).replace('_', '-')} is of --method auto. Leave it out.")
    training = given_options(training_options(flags), flags.setting or [], method=method)
    data: dict[str, Any] = {
        "dataset": flags.dataset,
        "split": flags.split,
        "vision": flags.vision,
        "text": flags.text,
        "pairs": None if flags.pairs is None else counts("--pairs", flags.pairs, such="500, or 100,300", least=0)[0],
        "add": tuple(flags.add or ()),
        "unpaired": tuple(flags.unpaired or ()),
        "memory": None if flags.memory is None else byte_count("--memory", flags.memory),
    }
    if flags.are_given:
        if flags.replace:
            raise UsageError(
                "--replace is of one run: many runs replace what an earlier command made under their names."
            )
        stored = {**data, "test": flags.test, "split_column": flags.split_column}
        options = {"method": AUTO if is_auto else method, **training, **selection}
        recipe = flags.recipe(flags.layers, preset=flags.preset, training=options, name=flags.name, stored=stored)
        request, runs = first_run(recipe, name=flags.name, device=flags.device), len(runs_of(recipe))
    else:
        named: dict[str, Any] = {
            "split_column": flags.split_column,
            "test": flags.test or 0.0,
            "name": flags.name,
            "replace": flags.replace,
        }
        if is_open or is_auto:
            named |= {"method": AUTO if is_auto else method, "device": flags.device, **selection}
        else:
            named["options"] = TrainingOptions.preset(flags.preset, method=method, device=flags.device)
        recipe, request, runs = None, AlignRequest.of(flags.layers, **data, **named, **training), 1
    context = RunContext.of(
        flags.store, data_root=flags.data_root, device=flags.device, trust_remote_code=flags.trust_remote_code
    )
    if flags.tensorboard is not None and not _has_epochs(request, recipe):
        raise UsageError(
            "--tensorboard writes the numbers of epochs, and no method here trains in epochs. Leave it out."
        )
    requested_layers(context.store, request)  # a wrong layer is told before anything is planned
    from structure.pipeline.stages.align import SHORT_TRAINING, is_quick, plan, run

    if flags.dry_run:
        show_ahead(terminal, flags.store, [part.row() for part in plan(request, context, runs=runs)])
        return
    is_agreed = flags.yes or is_quick(request, context, runs=runs)
    agreed(lambda: plan(request, context, runs=runs, probe_from=SHORT_TRAINING), yes=is_agreed)
    if recipe is not None:
        run_sweep(recipe, context, terminal, tensorboard=flags.tensorboard)
        return
    with terminal.working() as listener, logged(listener, flags.tensorboard) as on_event:
        done = run(request, replace(context, on_event=on_event))
    show_aligned(terminal, done, flags.store)
