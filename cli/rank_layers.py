"""`structure rank-layers`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from structure.cli import completion
from structure.cli.choices import byte_count, choice, count_or, listed
from structure.cli.consent import DryRunOption, YesOption, agreed, show_ahead
from structure.cli.options import DEFAULT_STORE, JsonOption, QuietOption, StoreOption
from structure.cli.terminal import Terminal
from structure.pipeline.ranking.options import PRESETS
from structure.pipeline.similarity.k_rules import RULES
from structure.pipeline.similarity.registry import SIMILARITIES, notation

if TYPE_CHECKING:
    from structure.pipeline.work_estimate import WorkEstimate

METRICS = listed(SIMILARITIES)
ADJUSTED = (
    "null-adjusted: (score - t) / (1 - t); the largest score of 95 % of the permutations stays below t, 1 is identity."
)
PAIRINGS = ("vision-text", "vision-vision", "text-text")


def rank_layers(
    vision: Annotated[
        list[str] | None, typer.Option(help="Vision features; needed only if there are several. Repeat for a matrix.")
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option(help="Text features; needed only if there are several. Repeat for a matrix.")
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="Dataset; needed only if there are several.", autocompletion=completion.kept_datasets),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split; train by default.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every two models of the dataset: a matrix of models.")] = False,
    between: Annotated[
        str | None, typer.Option(help="Which models meet under --all: vision-text, vision-vision or text-text.")
    ] = None,
    metric: Annotated[
        str, typer.Option(help=", ".join(METRICS) + ".", autocompletion=completion.among(METRICS))
    ] = "mutual-knn",
    preset: Annotated[str, typer.Option(help=f"{' or '.join(PRESETS)}.")] = "structure",
    k: Annotated[
        str | None, typer.Option("--k", help=f"{', '.join(RULES)} or a number; the preset's by default.")
    ] = None,
    samples: Annotated[str | None, typer.Option(help="Number of items, or all; the preset's by default.")] = None,
    seed: Annotated[int, typer.Option(help="Of the subsets and of the permutations.")] = 42,
    calibrate: Annotated[
        int | None, typer.Option(min=0, help="Permutations of the test; as many as the metric asks for by default.")
    ] = None,
    repeats: Annotated[
        int, typer.Option(min=0, help="Random subsets of 100, 500, 1,000 and 5,000 rows on which to choose again.")
    ] = 5,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0.")] = "auto",
    memory: Annotated[str, typer.Option(help="Budget of the search, such as 1GB; of each task on a cluster.")] = "1GB",
    scheduler: Annotated[str | None, typer.Option(help="Address of a dask scheduler to run on.")] = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score every pair of a vision and a text layer, save the matrix and charts, and say which pair and why.

    Example: structure rank-layers --k rice
    """
    from structure.cli.cluster import compute_on

    terminal = Terminal(as_json=as_json, quiet=quiet)
    options: dict[str, Any] = {
        "store": store,
        "dataset": dataset,
        "split": split,
        "metric": metric,
        "preset": preset,
        "k": None if k is None else count_or("--k", k, RULES),
        "samples": None if samples is None else count_or("--samples", samples, ("all",)),
        "seed": seed,
        "calibrate": calibrate,
        "repeats": repeats,
        "device": device,
        "memory": byte_count("--memory", memory),
    }
    names = {"vision": vision or [], "text": text or []}
    many = every or between is not None or max(map(len, names.values())) > 1
    meeting = choice("--between", between or PAIRINGS[0], PAIRINGS) if many else None
    if dry_run:
        show_ahead(terminal, store, [part.row() for part in _ahead(names, meeting, options)])
        return
    agreed(lambda: _ahead(names, meeting, options), yes=yes or scheduler is not None)
    with terminal.working() as listener, compute_on(scheduler) as compute:
        options |= {"compute": compute, "on_event": listener}
        if meeting is not None:
            _models(terminal, names, meeting, options)
        else:
            _layers(terminal, {side: next(iter(own), None) for side, own in names.items()}, options)


def _layers(terminal: Terminal, names: dict[str, str | None], options: dict[str, Any]) -> None:
    from structure.pipeline.stages.rank_layers import rank_layers as run

    similarity = run(**options, **names)  # type: ignore[arg-type]
    ranking = similarity.ranking
    if terminal.as_json:
        terminal.document(ranking)
        return
    rows = [_adjusted({"": name, **ranking[name]}) for name in ("best", "runner_up") if ranking[name]]
    title = f"{ranking['vision']['model']} and {ranking['text']['model']} on {ranking['dataset']}/{ranking['split']}"
    terminal.table(rows, ["", "vision_layer", "text_layer", "score", "null-adjusted", "p_value"], title=title)
    if ranking["null"]:
        terminal.say(ADJUSTED)
    terminal.say(ranking["reason"])
    terminal.say(f"Saved in {similarity.folder}. Next: structure align --layers auto --store {options['store']}")


def _adjusted(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with its null-adjusted score under the name that the table prints."""
    return {**row, "null-adjusted": row["calibrated"]}


def _ahead(names: dict[str, list[str]], between: str | None, options: dict[str, Any]) -> list[WorkEstimate]:
    from structure.pipeline.stages.rank_layers import rank_layers as run_layers
    from structure.pipeline.stages.rank_models import rank_models as run_models

    if between is not None:
        return run_models(between=between, **options, **names, dry_run=True)  # type: ignore[return-value]
    one = {side: next(iter(own), None) for side, own in names.items()}
    return run_layers(**options, **one, dry_run=True)  # type: ignore[return-value]


def _models(terminal: Terminal, names: dict[str, list[str]], between: str, options: dict[str, Any]) -> None:
    from structure.pipeline.stages.rank_models import rank_models as run

    similarity = run(between=between, **options, **names)  # type: ignore[arg-type]
    document = similarity.document
    if terminal.as_json:
        terminal.document(document)
        return
    rows = [_adjusted(row) for row in sorted(document["cells"], key=lambda row: -row["score"])]
    columns = ["first", "second", "first_layer", "second_layer", "score", "null-adjusted", "p_value", "k", "rows"]
    terminal.table(rows, columns, title=f"Best {notation(document['metric'])} of every two models")
    if document["best"]["p_value"] is not None:
        terminal.say(ADJUSTED)
    terminal.say("p-values are corrected for the layer pairs of two models, not for the number of models.")
    terminal.say(f"Saved in {similarity.folder}.")
