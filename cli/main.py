"""The command `structure`: one sub-command per stage, errors as sentences, exit codes 0, 1 and 2."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

import typer

from structure.cli import (
    align,
    checking,
    datasets,
    demo,
    embed,
    evaluate,
    export,
    extract,
    importing,
    index,
    label,
    models,
    opening,
    plan,
    rank_layers,
    report,
    running,
    search,
    serve,
    store,
    suites,
)
from structure.cli.advice import complete, given
from structure.cli.kept_memory import keep_memory
from structure.cli.option_values import CommandGroup
from structure.cli.stopping import INTERRUPTED, WORDS, listen, was_interrupted
from structure.cli.surroundings import told
from structure.store.errors import DamageError, StructureError, UsageError

CommandLineError: Any = typer.BadParameter.__base__
"""What a wrong flag raises: click's UsageError, or the copy of it that newer versions of typer carry."""

DUMB = os.environ.get("TERM") == "dumb"
"""A terminal that only prints, perhaps read aloud: help then has no frames."""

app = typer.Typer(
    name="structure",
    cls=CommandGroup,
    help="Align frozen vision and text encoders from little paired data: extract every layer once, rank the layers, "
    "train light heads from the cached shards, evaluate zero-shot.\n\nExample: structure demo",
    no_args_is_help=True,
    rich_markup_mode=None if DUMB else "rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.command("extract")(extract.extract)
app.command("rank-layers")(rank_layers.rank_layers)
app.command("align", cls=align.MethodsInHelp)(align.align)
app.command("eval")(evaluate.evaluate)
app.command("search")(search.search)
app.command("label")(label.label)
app.command("embed")(embed.embed)
app.command("index")(index.index)
app.command("serve")(serve.serve)
app.command("report")(report.report)
app.command("export", cls=export.FormatsInHelp)(export.export)
app.command("open")(opening.open_bundle)
app.command("run")(running.run)
app.command("status")(running.status)
datasets.app.command("check")(checking.check)
app.command("import")(importing.import_features)
app.command("models")(models.models)
app.command("plan")(plan.plan)
app.command("suites")(suites.suites)
app.add_typer(datasets.app, name="datasets")
app.add_typer(store.app, name="store")


def _version(value: bool) -> None:
    if value:
        import importlib.metadata

        typer.echo(f"structure {importlib.metadata.version('structure-align')}")
        raise typer.Exit()


@app.callback()
def _common(
    verbose: int = typer.Option(
        0, "-v", count=True, show_default=False, metavar="", help="Twice (-vv): with the traceback of an error."
    ),
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    pass


SURROUNDINGS = {
    # Threads of a CPU that others use too do not spin for long: on two busy cores an epoch of 1,000 pairs took 380 ms
    # with the default, and 25 ms where they sleep at once.
    "OMP_WAIT_POLICY": "PASSIVE",
    # But a few microseconds of it pay, where matrices are small: on two quiet cores the eigenvectors of a 640 x 640
    # matrix take 26 ms with this, 75 ms without; a training step of 256 pairs 1.4 and 3.1 ms. libgomp's unit is a turn.
    "GOMP_SPINCOUNT": "3000",
    # Tokenizers warn, or hang, where their own threads meet forked image workers.
    "TOKENIZERS_PARALLELISM": "false",
}


def main() -> None:
    """Run the command line and leave with 0, 1 (an error that the message explains), 2 (usage) or 130 (interrupted)."""
    for name, value in SURROUNDINGS.items():
        os.environ.setdefault(name, value)  # before torch is imported: OpenMP reads them once
    keep_memory()
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """The same for given arguments; returns the exit code."""
    with given(arguments, app):
        return _run(arguments)


def _run(arguments: list[str]) -> int:
    verbose = sum(word.count("v") for word in arguments if word in ("-v", "-vv", "-vvv"))
    arguments = [word for word in arguments if word not in ("-v", "-vv", "-vvv")]
    listen()
    try:
        code = app(args=arguments, prog_name="structure", standalone_mode=False)
        return _told(code if isinstance(code, int) else 0)
    except typer.Exit as leaving:
        return _told(leaving.exit_code)
    except CommandLineError as error:
        _say_the_value(error)
        error.show()
        return 2
    except (KeyboardInterrupt, typer.Abort):
        return _told(INTERRUPTED)
    except StructureError as error:
        if was_interrupted():  # a library that was interrupted raises what it likes, also where that is made a sentence
            return _told(INTERRUPTED)
        if verbose >= 2:
            traceback.print_exc()
        print(f"structure: {complete(f'{error}{_how_to_repair(error)}')}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except Exception as error:
        if was_interrupted():
            return _told(INTERRUPTED)
        return _of_the_machine(error, verbose)


def _say_the_value(error: Any) -> None:
    """Add to "Input should be greater than or equal to 1" what the input was."""
    wrong: Any = getattr(error.__cause__, "errors", list)()
    if wrong:
        said = wrong[0]["msg"].removeprefix("Input should be ")
        error.message = f"it is {wrong[0]['input']}; it must be {said}."


def _of_the_machine(error: Exception, verbose: int) -> int:
    """Say what the machine lacks or refused; returns the exit code. Raises an error that is none of the machine's."""
    said = told(error)
    if said is None:
        raise error
    if isinstance(error, BrokenPipeError):  # the reader of stdout has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if verbose >= 2:
        traceback.print_exc()
    print(f"structure: {said}", file=sys.stderr)
    return 1


def _how_to_repair(error: StructureError) -> str:
    """What to type where a feature set is damaged."""
    key = error.feature_set if isinstance(error, DamageError) else ""
    return f" Run: structure store repair {key}" if key else ""


def _told(code: int) -> int:
    """The exit code; what an interrupted run leaves behind is said first (typer itself turns Ctrl-C into a code)."""
    if code == INTERRUPTED:
        print(WORDS, file=sys.stderr)
    return code
