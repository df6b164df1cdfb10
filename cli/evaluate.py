"""`structure eval`."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from structure.cli import completion
from structure.cli.choices import words
from structure.cli.consent import asking, show_ahead
from structure.cli.flags import DataFlags, PlanFlags, StoreFlags, TrustFlags, takes_flags
from structure.cli.terminal import Terminal
from structure.store.errors import UsageError

if TYPE_CHECKING:
    from structure.pipeline.stages.evaluate import Evaluation
    from structure.pipeline.suites.own_labels import OwnLabels


@dataclass(frozen=True, kw_only=True)
class EvaluateFlags(PlanFlags, TrustFlags, StoreFlags, DataFlags):
    """What to evaluate, and on which suite."""

    suite: Annotated[
        str | None,
        typer.Option(
            help="clip-benchmark, linear-probe, ... (structure suites), or a YAML file.",
            autocompletion=completion.suites,
            show_default=False,
        ),
    ] = None
    aligner: Annotated[
        list[str] | None,
        typer.Option(help="Aligner; repeat for several. The newest by default.", autocompletion=completion.aligners),
    ] = None
    dataset: Annotated[
        str | None,
        typer.Option(
            help="In place of --suite: zero-shot on the labels of one dataset, such as pairs:my.csv.",
            autocompletion=completion.datasets,
            show_default=False,
        ),
    ] = None
    split: Annotated[str | None, typer.Option(help="Of --dataset; test where there is one.", show_default=False)] = None
    label: Annotated[
        str | None, typer.Option(help="Of --dataset: which of its labels; label by default.", show_default=False)
    ] = None
    prompt: Annotated[
        list[str] | None,
        typer.Option(help="Of --dataset: template with {c} for the class name; repeat.", show_default=False),
    ] = None
    classes: Annotated[
        str | None,
        typer.Option(
            help="Of --dataset: file with one class name a line, or a .yaml with the words for each.",
            show_default=False,
        ),
    ] = None
    datasets: Annotated[str, typer.Option(help="Only these, with commas; a collection's name works too.")] = ""
    prompts: Annotated[str | None, typer.Option(help="clip-benchmark, structure-paper, plain, or a YAML file.")] = None
    require_all: Annotated[bool, typer.Option("--require-all", help="A dataset that is not here is an error.")] = False
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="A B",
            help="Two aligners, compared sample by sample; without --suite, on all that both were evaluated on.",
            show_default=False,
        ),
    ] = None
    group: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Of --compare: samples with one value of it are not independent."),
    ] = None
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0.")] = "auto"


@takes_flags
def evaluate(flags: EvaluateFlags) -> None:
    """Evaluate aligners zero-shot from cached features; an encoder runs only for rows that are not in the store.

    Example: structure eval --suite clip-benchmark
    """
    from structure.pipeline.run_context import RunContext
    from structure.pipeline.stage_requests.checks import require_two
    from structure.pipeline.stage_requests.evaluate import EvaluateRequest

    terminal, asked = flags.terminal(), _asked(flags)
    if asked is None:
        if flags.compare is None:
            raise UsageError(
                "Say what to evaluate on: --suite clip-benchmark (structure suites lists them), or your own labels: "
                '--dataset pairs:FILE --prompt "a photo of a {c}"'
            )
        require_two(*flags.compare)
        _compare(terminal, flags.compare, flags)
        return
    request = EvaluateRequest(
        asked,
        aligners=flags.aligner or (),
        datasets=words("--datasets", flags.datasets),
        prompts=flags.prompts,
        require_all=flags.require_all,
        compare=flags.compare,
        group=flags.group,
    )
    context = RunContext.of(
        flags.store,
        data_root=flags.data_root,
        device=flags.device,
        trust_remote_code=flags.trust_remote_code,
        confirm=asking(yes=flags.yes),
    )
    from structure.pipeline.stages.evaluate import EvaluationPlan, plan, run

    with terminal.working() as listener:
        context = replace(context, on_event=listener)
        done = plan(request, context) if flags.dry_run else run(request, context)
    if isinstance(done, EvaluationPlan):
        show_ahead(terminal, flags.store, [part.row() for part in done.parts], done.absent)
    else:
        _show(terminal, done, flags.compare)


def _asked(flags: EvaluateFlags) -> str | OwnLabels | None:
    """The suite, or the labels of one dataset; None where neither is named. Raises UsageError for both."""
    from structure.pipeline.suites.own_labels import TEMPLATE, OwnLabels

    own = {name: getattr(flags, name) for name in ("dataset", "split", "label", "prompt", "classes")}
    given = [name for name, value in own.items() if value]
    if flags.dataset is None:
        if given:
            raise UsageError(
                f"--{given[0]} is of --dataset: a suite says it in its file. Add --dataset, or leave it out."
            )
        return flags.suite
    if flags.suite is not None or flags.prompts is not None or flags.datasets:
        raise UsageError(
            "--dataset asks for the labels of one dataset; --suite, --datasets and --prompts are of a suite. Leave out "
            "one or the other. For one dataset of a suite: --suite SUITE --datasets NAME"
        )
    return OwnLabels(
        flags.dataset,
        label=flags.label or "label",
        split=flags.split,
        prompts=tuple(flags.prompt or (TEMPLATE,)),
        classes=flags.classes,
    )


def _compare(terminal: Terminal, compare: tuple[str, str], flags: EvaluateFlags) -> None:
    """Two aligners on all that both were evaluated on before."""
    from structure.pipeline.stages.evaluate import compare_aligners

    differences = [row.row() for row in compare_aligners(*compare, store=flags.store, group=flags.group)]
    if terminal.as_json:
        terminal.document({"compared": list(compare), "differences": differences})
    else:
        _show_differences(terminal, compare, differences)


def _show(terminal: Terminal, done: Evaluation, compare: tuple[str, str] | None) -> None:
    """The tables of an evaluation. Raises Exit, with 1 where a dataset could not be used."""
    from structure.pipeline.results import notes_of
    from structure.pipeline.suites.published import published_comparison

    document = done.to_json()
    if terminal.as_json:
        terminal.document(document)
        raise typer.Exit(1 if done.failed else 0)
    terminal.table(document["results"], ["aligner", "dataset", "metric", "value", "low", "high", "chance", "n"])
    if done.by_class:
        columns = ["aligner", "dataset", "class", "positives", "auroc", "low", "high"]
        terminal.table(document["by_class"], columns, title="AUROC by class; chance .5")
    if compare is not None:
        _show_differences(terminal, compare, document["differences"])
    published = published_comparison(done.results)
    shown = [entry.row() for entry in published if entry.same_encoders]
    if shown:
        columns = ["aligner", "dataset", "metric", "value", "published", "method", "protocol"]
        terminal.table(shown, columns, title="Published for these encoders")
    elif published:
        terminal.say(f"{len(published)} published numbers of other encoders stand beside these in: structure report")
    if done.absent:
        terminal.table(document["absent"], ["dataset", "how_to_get"], title="Not evaluated")
    if done.failed:
        terminal.table(document["failed"], ["dataset", "why"], title="Cannot be used")
    for sentence in notes_of(done.results):
        terminal.say(sentence)
    terminal.say(f"{done.evaluated} of {done.asked} tasks evaluated, {done.encoder_passes} encoder passes.")
    raise typer.Exit(1 if done.failed else 0)


def _show_differences(terminal: Terminal, compare: tuple[str, str], rows: list[dict[str, Any]]) -> None:
    from structure.pipeline.metrics.intervals import is_significant, multiplicity, signed

    for row in rows:
        row[""] = "*" if is_significant(row["low"], row["high"]) else ""
        row["difference"] = signed(row["value"], row["low"], row["high"])
    columns = ["dataset", "metric", "first", "second", "difference", "", "n"]
    title = f"{compare[0]} (first) minus {compare[1]} (second) on the same samples; * = the interval excludes zero"
    terminal.table(rows, columns, title=title)
    terminal.say(multiplicity((row["low"], row["high"]) for row in rows))
    if all(row["value"] == 0 and (row["low"] == row["high"] == 0 or math.isnan(row["low"])) for row in rows):
        terminal.say("Both gave the same answer to every query.")
