"""`structure rank-layers`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from structure.cli import completion
from structure.cli.choices import byte_count, choice, count_or, listed
from structure.cli.cluster import compute_on
from structure.cli.consent import agreed, show_ahead
from structure.cli.flags import PlanFlags, StoreFlags, takes_flags
from structure.cli.kept_memory import give_memory_back
from structure.cli.terminal import Terminal
from structure.pipeline.ranking.options import PERMUTE, PRESETS
from structure.pipeline.similarity.k_rules import RULES
from structure.pipeline.similarity.registry import SIMILARITIES, notation
from structure.store.errors import UsageError

if TYPE_CHECKING:
    from structure.pipeline.run_context import RunContext
    from structure.pipeline.similarity.layer_similarity import LayerSimilarity
    from structure.pipeline.similarity.model_matrix import ModelSimilarity
    from structure.pipeline.stage_requests.rank import RankModelsRequest, RankRequest
    from structure.pipeline.work_estimate import WorkEstimate

METRICS = listed(SIMILARITIES)
ADJUSTED = (
    "null-adjusted: (score - t) / (1 - t); the largest score of 95 % of the permutations stays below t, 1 is identity."
)


@dataclass(frozen=True, kw_only=True)
class RankFlags(PlanFlags, StoreFlags):
    """Which feature sets to rank, and how."""

    vision: Annotated[
        list[str] | None, typer.Option(help="Vision features; needed only if there are several. Repeat for a matrix.")
    ] = None
    text: Annotated[
        list[str] | None, typer.Option(help="Text features; needed only if there are several. Repeat for a matrix.")
    ] = None
    dataset: Annotated[
        str | None,
        typer.Option(help="Dataset; needed only if there are several.", autocompletion=completion.kept_datasets),
    ] = None
    split: Annotated[str | None, typer.Option(help="Split; train by default.")] = None
    every: Annotated[bool, typer.Option("--all", help="Every two models of the dataset: a matrix of models.")] = False
    between: Annotated[
        str | None, typer.Option(help="Which models meet under --all: vision-text, vision-vision or text-text.")
    ] = None
    metric: Annotated[str, typer.Option(help=", ".join(METRICS) + ".", autocompletion=completion.among(METRICS))] = (
        "mutual-knn"
    )
    preset: Annotated[str, typer.Option(help=f"{' or '.join(PRESETS)}.")] = "structure"
    k: Annotated[str | None, typer.Option("--k", help=f"{', '.join(RULES)} or a number; the preset's by default.")] = (
        None
    )
    samples: Annotated[str | None, typer.Option(help="Number of samples, or all; the preset's by default.")] = None
    seed: Annotated[int, typer.Option(help="Of the subsets and of the permutations.")] = 42
    calibrate: Annotated[
        int | None, typer.Option(min=0, help="Permutations of the test; as many as the metric asks for by default.")
    ] = None
    repeats: Annotated[
        int, typer.Option(min=0, help="Random subsets of 100, 500, 1,000 and 5,000 rows on which to choose again.")
    ] = 5
    group: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Of the sample index: samples with one value are not independent."),
    ] = None
    permute: Annotated[
        str | None, typer.Option(help="What the test exchanges under --group: rows within a group, or whole groups.")
    ] = None
    forecast: Annotated[
        bool, typer.Option(help="End with the recall to expect from 100 to 10,000 pairs; not with --all.")
    ] = True
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0.")] = "auto"
    memory: Annotated[str, typer.Option(help="Budget of the search, such as 1GB; of each task on a cluster.")] = "1GB"
    scheduler: Annotated[str | None, typer.Option(help="Address of a dask scheduler to run on.")] = None


@takes_flags
def rank_layers(flags: RankFlags) -> None:
    """Score every pair of a vision and a text layer, save the matrix and charts, and say which pair and why.

    Example: structure rank-layers --k rice
    """
    from structure.pipeline.run_context import RunContext

    give_memory_back()
    terminal, request = flags.terminal(), _request(flags)
    context = RunContext.of(flags.store, device=flags.device)
    if flags.dry_run:
        show_ahead(terminal, flags.store, [part.row() for part in _plan(request, context)])
        return
    from structure.pipeline.stage_requests.rank import RankModelsRequest
    from structure.pipeline.stages import rank_layers as layers

    is_quick = not isinstance(request, RankModelsRequest) and layers.is_quick(request, context)
    agreed(lambda: _plan(request, context), yes=flags.yes or flags.scheduler is not None or is_quick)
    with terminal.working() as listener, compute_on(flags.scheduler) as compute:
        request, context = replace(request, compute=compute), replace(context, on_event=listener)
        if isinstance(request, RankModelsRequest):
            from structure.pipeline.stages import rank_models as models

            _show_models(terminal, models.run(request, context))
        else:
            _show_layers(terminal, layers.run(request, context), flags.store)


def _request(flags: RankFlags) -> RankRequest | RankModelsRequest:
    """One pair of feature sets, or every two models where several are named or `--all` is given."""
    from structure.pipeline.stage_requests.rank import BETWEEN, RankModelsRequest, RankRequest

    vision, text = flags.vision or [], flags.text or []
    if flags.permute is not None and flags.group is None:
        raise UsageError(f"--permute {flags.permute} is of groups: it changes nothing without --group COLUMN.")
    shared: dict[str, Any] = {
        "dataset": flags.dataset,
        "split": flags.split,
        "metric": flags.metric,
        "preset": flags.preset,
        "k": None if flags.k is None else count_or("--k", flags.k, RULES),
        "samples": None if flags.samples is None else count_or("--samples", flags.samples, ("all",)),
        "seed": flags.seed,
        "calibrate": flags.calibrate,
        "repeats": flags.repeats,
        "group": flags.group,
        "permute": choice("--permute", flags.permute or PERMUTE[0], PERMUTE),
        "memory": byte_count("--memory", flags.memory),
    }
    if flags.every or flags.between is not None or max(len(vision), len(text)) > 1:
        between = choice("--between", flags.between or BETWEEN[0], BETWEEN)
        return RankModelsRequest(vision=vision, text=text, between=between, **shared)
    shared["forecast"] = flags.forecast
    return RankRequest(vision=next(iter(vision), None), text=next(iter(text), None), **shared)


def _plan(request: RankRequest | RankModelsRequest, context: RunContext) -> list[WorkEstimate]:
    from structure.pipeline.stage_requests.rank import RankModelsRequest

    if isinstance(request, RankModelsRequest):
        from structure.pipeline.stages import rank_models

        return rank_models.plan(request, context)
    from structure.pipeline.stages import rank_layers

    return rank_layers.plan(request, context)


def _show_layers(terminal: Terminal, similarity: LayerSimilarity, store: str) -> None:
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
    for sentence in ranking["forecast"]["sentences"] if "forecast" in ranking else ():
        terminal.say(sentence)
    if similarity.folder.writable:
        terminal.say(f"Saved in {similarity.folder}. Next: structure align --layers auto --store {store}")


def _adjusted(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with its null-adjusted score under the name that the table prints."""
    return {**row, "null-adjusted": row["calibrated"]}


def _show_models(terminal: Terminal, similarity: ModelSimilarity) -> None:
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
    if similarity.folder.writable:
        terminal.say(f"Saved in {similarity.folder}.")
