"""`structure eval`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from structure.cli import completion
from structure.cli.consent import DryRunOption, YesOption, asking, show_ahead
from structure.cli.options import (
    DEFAULT_DATA,
    DEFAULT_STORE,
    DataRootOption,
    JsonOption,
    QuietOption,
    StoreOption,
    TrustOption,
)
from structure.cli.terminal import Terminal


def evaluate(
    suite: Annotated[
        str | None,
        typer.Option(
            help="clip-benchmark, linear-probe, ... (structure suites), or a YAML file.",
            autocompletion=completion.suites,
            show_default=False,
        ),
    ] = None,
    aligner: Annotated[
        list[str] | None,
        typer.Option(help="Aligner; repeat for several. The newest by default.", autocompletion=completion.aligners),
    ] = None,
    datasets: Annotated[str, typer.Option(help="Only these, with commas; a collection's name works too.")] = "",
    prompts: Annotated[str | None, typer.Option(help="clip-benchmark, structure-paper, plain, or a YAML file.")] = None,
    require_all: Annotated[bool, typer.Option("--require-all", help="A dataset that is not here is an error.")] = False,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="A B",
            help="Two aligners, compared sample by sample; without --suite, on all that both were evaluated on.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0.")] = "auto",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    trust_remote_code: TrustOption = False,
    store: StoreOption = DEFAULT_STORE,
    data_root: DataRootOption = DEFAULT_DATA,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Evaluate aligners zero-shot from cached features; an encoder runs only for rows that are not in the store.

    Example: structure eval --suite clip-benchmark
    """
    from structure.cli.choices import words
    from structure.pipeline.results import notes_of
    from structure.pipeline.stages.evaluate import compare_aligners
    from structure.pipeline.stages.evaluate import evaluate as run
    from structure.pipeline.suites.published import beside
    from structure.store.errors import UsageError

    terminal = Terminal(as_json=as_json, quiet=quiet)
    where: dict[str, Any] = {
        "store": store,
        "data_root": data_root,
        "device": device,
        "trust_remote_code": trust_remote_code,
    }
    if suite is None:
        if compare is None:
            raise UsageError("Say what to evaluate on: --suite clip-benchmark (structure suites lists them).")
        differences = [row.row() for row in compare_aligners(*compare, store=store)]
        if as_json:
            terminal.document({"compared": list(compare), "differences": differences})
        else:
            _show_differences(terminal, compare, differences)
        return
    if dry_run:
        _show_plan(terminal, suite, [*(aligner or ()), *(compare or ())], words("--datasets", datasets), prompts, where)
        return
    with terminal.working() as listener:
        done = run(
            suite,
            aligners=aligner or (),
            datasets=words("--datasets", datasets),
            prompts=prompts,
            require_all=require_all,
            compare=compare,
            confirm=asking(yes=yes),
            on_event=listener,
            **where,
        )
    document = done.to_json()
    if as_json:
        terminal.document(document)
        raise typer.Exit(1 if done.failed else 0)
    terminal.table(document["results"], ["aligner", "dataset", "metric", "value", "low", "high", "chance", "n"])
    if compare is not None:
        _show_differences(terminal, compare, document["differences"])
    published = beside(done.results)
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


def _show_plan(
    terminal: Terminal,
    suite: str,
    aligners: list[str],
    datasets: list[str],
    prompts: str | None,
    where: dict[str, Any],
) -> None:
    from structure.pipeline.requests import EvaluateRequest
    from structure.pipeline.run_context import RunContext
    from structure.pipeline.stages.evaluate import plan

    with terminal.working() as listener:
        request = EvaluateRequest(suite, aligners=aligners, datasets=datasets, prompts=prompts)
        planned = plan(request, RunContext.of(**where, on_event=listener))
    show_ahead(terminal, where["store"], [part.row() for part in planned.parts], planned.absent)


def _show_differences(terminal: Terminal, compare: tuple[str, str], rows: list[dict[str, Any]]) -> None:
    from structure.pipeline.metrics.intervals import holds_zero

    for row in rows:
        row[""] = "" if holds_zero(row["low"], row["high"]) else "*"
        row["difference"] = row["value"]
    columns = ["dataset", "metric", "first", "second", "difference", "low", "high", "", "n"]
    title = f"{compare[0]} (first) minus {compare[1]} (second) on the same samples; * = the interval does not hold zero"
    terminal.table(rows, columns, title=title)
