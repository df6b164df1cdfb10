"""A recipe's summary, computed from the results of its steps, and the chart and table of its correlations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from structure.pipeline.charts import panels, png
from structure.pipeline.csv_text import csv_text
from structure.pipeline.metrics.registry import METRICS, metric_named, pattern_of
from structure.pipeline.metrics.seed_comparison import SeedMean, Tables, no_tables, seed_differences, seed_means
from structure.pipeline.recipe.efficiency import efficiency_of
from structure.pipeline.recipe.recipe import Recipe
from structure.pipeline.recipe.run_cache import StepResult
from structure.pipeline.recipe.spaced_pairs import similarity
from structure.pipeline.recipe.steps import STAGES, TrainingRun, compared, rank_key, runs_of, steps_of, variant_of
from structure.pipeline.recipe.summary import Correlation, Point, Summary
from structure.pipeline.results import HELD_OUT, Result
from structure.pipeline.similarity.charts import similarity_against_value
from structure.store.files import Files
from structure.store.seals import digests

MOST_PANELS = 8
FEWEST = 3
"""Points from which on a rank correlation is told."""


def summarise(recipe: Recipe, results: Mapping[str, StepResult], tables: Tables = no_tables) -> Summary:
    """Means, differences, correlations and label efficiency from the results of every step before the report, and the
    predictions that these were computed from."""
    runs = runs_of(recipe)
    grid = [variant_of(recipe, encoders, cell) for encoders in recipe.encoders for cell in recipe.cells]
    by_variant: dict[str, dict[int, list[Result]]] = {name: {} for name in grid if name not in recipe.excluded}
    aligners: dict[str, list[str]] = {name: [] for name in by_variant}
    rates: dict[str, list[float | None]] = {name: [] for name in by_variant}
    for run in runs:
        trained = results[f"align/{run.aligner}"].result
        rows = held_out_results(run.aligner, trained) if recipe.stored else []
        if recipe.evaluate is not None:
            rows += [Result(**row) for row in results[f"evaluate/{run.aligner}"].result["results"]]
        by_variant[run.variant][run.seed] = rows
        aligners[run.variant].append(run.aligner)
        rates[run.variant].append(trained["rate"])
    means = [row for variant, seeds in by_variant.items() for row in seed_means(variant, seeds, tables)]
    differences = [
        row
        for first, second in compared(recipe)
        for row in seed_differences(first, by_variant[first], second, by_variant[second], tables)
    ]
    seconds: dict[str, float] = dict.fromkeys(STAGES[:-1], 0.0)
    for step in steps_of(recipe)[:-1]:
        seconds[step.stage] += results[step.key].seconds
    return Summary(
        tuple(means),
        tuple(differences),
        tuple(correlations(recipe, runs, means, results)) if recipe.correlate else (),
        tuple(efficiency_of(recipe.contrasts, means)) if recipe.curve else (),
        aligners,
        rates,
        _identical(runs, results),
        _same_weights(runs, results),
        seconds,
    )


def _identical(runs: Sequence[TrainingRun], results: Mapping[str, StepResult]) -> dict[str, str]:
    """Variants none of whose runs were trained by themselves, with the variant that was."""
    variant = {run.aligner: run.variant for run in runs}
    sources: dict[str, set[str | None]] = {}
    for run in runs:
        source = results[f"align/{run.aligner}"].result.get("identical_to", "")
        sources.setdefault(run.variant, set()).add(variant.get(source))
    return {name: source for name, (source, *more) in sources.items() if source is not None and not more}


def _same_weights(runs: Sequence[TrainingRun], results: Mapping[str, StepResult]) -> dict[str, str]:
    """Variants whose weights are, seed by seed, those of an earlier variant that was trained too."""
    weights: dict[str, tuple[tuple[int, str], ...]] = {}
    for run in runs:
        trained = results[f"align/{run.aligner}"].result
        if "weights" in trained and "identical_to" not in trained:
            weights[run.variant] = (*weights.get(run.variant, ()), (run.seed, trained["weights"]))
    first: dict[tuple[tuple[int, str], ...], str] = {}
    for variant, own in weights.items():
        first.setdefault(own, variant)
    return {variant: first[own] for variant, own in weights.items() if first[own] != variant}


def held_out_results(aligner: str, trained: Mapping[str, Any]) -> list[Result]:
    """What training itself measured, as results: validation pairs, and test pairs where some were held out."""
    return [
        Result(
            aligner,
            "pairs",
            dataset,
            HELD_OUT,
            metric,
            value,
            value,
            value,
            count,
            metric_named(metric).chance_of_pairs(count) if pattern_of(metric)[0] in METRICS else None,
            {},
        )
        for dataset, metrics, count in (
            ("validation", trained["metrics"], trained["validation_pairs"]),
            ("test", trained["test_metrics"], trained["test_pairs"]),
        )
        for metric, value in metrics.items()
    ]


def correlations(
    recipe: Recipe, runs: tuple[TrainingRun, ...], means: list[SeedMean], outcomes: Mapping[str, StepResult]
) -> list[Correlation]:
    """One for every metric, pair of encoders and combination of the grid's other coordinates."""
    settings = recipe.correlate or {}
    groups: dict[tuple[str, str, str, str], list[Point]] = {}
    values = {(row.variant, row.dataset, row.task, row.metric): row.value for row in means}
    for run in runs:
        if run.seed != recipe.seeds[0]:
            continue
        layers = outcomes[f"align/{run.aligner}"].result["layers"]
        ranking = outcomes[rank_key(recipe, run.encoders, settings["ranking"])].result
        score = similarity(ranking, layers["vision"], layers["text"])
        if score is None:
            continue
        others = [f"{key}={value}" for key, value in run.cell.values.items() if key != "layers"]
        whose = f"{run.encoders.vision} with {run.encoders.text}"
        for (variant, dataset, task, metric), value in values.items():
            if variant == run.variant and metric in settings.get("metrics", (metric,)):
                point = Point(layers["vision"], layers["text"], score, value)
                groups.setdefault((" ".join([whose, *others]), dataset, task, metric), []).append(point)
    return [Correlation(*key, *spearman(points), tuple(points)) for key, points in groups.items()]


def spearman(points: list[Point]) -> tuple[float | None, float | None]:
    """(rho, two-sided p-value); (None, None) for too few points, or where one side is the same everywhere."""
    from scipy.stats import spearmanr

    x, y = np.array([point.similarity for point in points]), np.array([point.value for point in points])
    if len(points) < FEWEST or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None, None
    correlation = spearmanr(x, y)
    return float(correlation.statistic), float(correlation.pvalue)


def correlation_chart(correlations: Sequence[Correlation]) -> bytes:
    """A PNG with a panel for each of the first correlations."""
    drawn = []
    for each in correlations[:MOST_PANELS]:
        rho = "undefined" if each.rho is None else f"{each.rho:.2f}"
        title = f"{each.dataset}\n{each.group}\nSpearman's rho {rho}, {len(each.points)} layer pairs"
        drawn.append((title, similarity_against_value([asdict(point) for point in each.points], each.metric)))
    return png(panels(drawn))


def write_correlations(correlations: Sequence[Correlation], folder: Files) -> dict[str, str]:
    """As `similarity.csv` (a line a point) and `similarity.png`, if there are any; returns their digests."""
    if not correlations:
        return {}
    columns = ["group", "dataset", "metric", "vision_layer", "text_layer", "similarity", "value"]
    rows = [
        [each.group, each.dataset, each.metric, *(getattr(point, name) for name in columns[3:])]
        for each in correlations
        for point in each.points
    ]
    files = {"similarity.csv": csv_text(columns, rows).encode(), "similarity.png": correlation_chart(correlations)}
    for name, content in files.items():
        folder.write(name, content)
    return digests(files)
