"""`structure eval`."""

from __future__ import annotations

from typing import Annotated

import typer

from structure.cli.options import DEFAULT_DATA, DEFAULT_STORE, DataRootOption, JsonOption, QuietOption, StoreOption
from structure.cli.terminal import Terminal


def evaluate(
    suite: Annotated[str, typer.Option(help="clip-benchmark, structure-paper, retrieval, scenes, or a YAML file.")],
    aligner: Annotated[
        list[str] | None, typer.Option(help="Aligner; repeat for several. The newest by default.")
    ] = None,
    datasets: Annotated[str, typer.Option(help="Only these, with commas; a collection's name works too.")] = "",
    prompts: Annotated[str | None, typer.Option(help="clip-benchmark, structure-paper, plain, or a YAML file.")] = None,
    require_all: Annotated[bool, typer.Option("--require-all", help="A dataset that is not here is an error.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0.")] = "auto",
    store: StoreOption = DEFAULT_STORE,
    data_root: DataRootOption = DEFAULT_DATA,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Evaluate aligners zero-shot from cached features; an encoder runs only for rows that are not in the store.

    Example: structure eval --suite clip-benchmark
    """
    from structure.cli.choices import words
    from structure.pipeline.stages.evaluate import evaluate as run

    terminal = Terminal(as_json=as_json, quiet=quiet)
    with terminal.working() as listener:
        done = run(
            suite,
            store=store,
            aligners=aligner or (),
            datasets=words("--datasets", datasets),
            prompts=prompts,
            data_root=data_root,
            require_all=require_all,
            device=device,
            on_event=listener,
        )
    document = done.to_json()
    if as_json:
        terminal.document(document)
        return
    terminal.table(document["results"], ["aligner", "dataset", "metric", "value", "low", "high", "chance", "n"])
    if done.absent:
        terminal.table(document["absent"], ["dataset", "how_to_get"], title="Not evaluated")
    evaluated = done.asked - len(done.absent)
    terminal.say(f"{evaluated} of {done.asked} tasks evaluated, {done.encoder_passes} encoder passes.")
