"""Many runs in one process: a grid of options and seeds, a control, or a curve over numbers of pairs.

Layers are read once for all runs. A comparison trains every variant with the same seeds, pairs, batches, learning rate
and selection rule, and gives the paired difference of every metric with its interval.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from structure.pipeline.aligners.option_groups import GradientOptions
from structure.pipeline.aligners.options import (
    RENAMED,
    TrainingOptions,
    all_option_names,
    applicable,
    require_applicable,
)
from structure.pipeline.documents import to_json
from structure.pipeline.metrics.label_efficiency import label_efficiency
from structure.pipeline.metrics.seed_comparison import SeedDifference, SeedMean, seed_differences, seed_means
from structure.pipeline.pairing.pairs import HeldLayers
from structure.pipeline.progress import Event, Listener, Note, Progress, silent
from structure.pipeline.results import Result
from structure.pipeline.stages.align import Aligned, align
from structure.pipeline.stages.evaluate import evaluate
from structure.store import Store, open_store
from structure.store.errors import StructureError, unknown

BASELINE = {"layers": "last", "regulariser": "none"}
"""What label efficiency is measured against where nothing else is compared (arXiv 2506.16895, section 4)."""

OTHER_AXES = ("layers", "pairs")
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Variant:
    """One choice of options, trained once a seed. `values` are its coordinates, `pairs` among them on a curve."""

    values: Values

    @property
    def name(self) -> str:
        """`method=linear weight=10`; `chosen` where nothing varies."""
        return " ".join(f"{key}={value}" for key, value in self.values.items()) or "chosen"

    def without(self, *axes: str) -> tuple[tuple[str, Any], ...]:
        """The other coordinates."""
        return tuple((key, value) for key, value in self.values.items() if key not in axes)


@dataclass(frozen=True)
class Sweep:
    """Means over the seeds of every variant, paired differences, label efficiency, and what could not be trained."""

    name: str
    seeds: tuple[int, ...]
    aligners: Mapping[str, Mapping[int, str]]
    rates: Mapping[str, Sequence[float | None]]
    means: tuple[SeedMean, ...]
    differences: tuple[SeedDifference, ...]
    efficiency: tuple[Mapping[str, Any], ...]
    failed: tuple[Mapping[str, str], ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The document of `structure align --grid ... --json`."""
        return {
            "sweep": self.name,
            "seeds": list(self.seeds),
            "aligners": {variant: list(names.values()) for variant, names in self.aligners.items()},
            "learning_rates": {variant: list(rates) for variant, rates in self.rates.items()},
            "means": [row.row() for row in self.means],
            "differences": [row.row() for row in self.differences],
            "efficiency": [dict(row) for row in self.efficiency],
            "failed": [dict(row) for row in self.failed],
            "seconds": self.seconds,
        }


def sweep(
    layers: str = "auto",
    *,
    store: Store | str | Path,
    options: TrainingOptions | None = None,
    grid: Mapping[str, Sequence[Any]] | None = None,
    compare: tuple[str, Sequence[Any]] | None = None,
    curve: Sequence[int] = (),
    seeds: Sequence[int] = (1, 2, 3, 4, 5),
    suite: str | None = None,
    datasets: Sequence[str] = (),
    pairs: int | None = None,
    name: str = "sweep",
    on_event: Listener = silent,
    **where: Any,
) -> Sweep:
    """Train every combination of the `grid` (training options, `layers`, `pairs`) with every seed, and tell them apart.

    `compare` is one more axis: each of its values is held against each later one, with the learning rate that the first
    run finds. `curve` lists numbers of pairs; without `compare` the last layers without R_S are trained beside the
    choice, and U = N^ / N - 1 says how many more pairs they need. `suite` evaluates every aligner besides. `where`
    are further arguments of `align`. A variant that cannot be trained is told in `failed`; a sweep that is started
    again trains only what is not there. Raises StructureError where an option has no such value or a seed stands twice,
    before anything is trained, and where no variant could be trained.
    """
    began = time.perf_counter()
    target = store if isinstance(store, Store) else open_store(store)
    base = options or TrainingOptions()
    variants = variants_of(grid or {}, compare, curve)
    varied = {*(grid or {}), *([compare[0]] if compare else [])}
    _require(variants, base, seeds, varied=varied - set(OTHER_AXES))
    axes = (compare[0],) if compare else tuple(BASELINE) if curve else ()
    runs, failed = _train(
        variants, axes, layers, target, base, seeds=seeds, pairs=pairs, name=name, where=where, on_event=on_event
    )
    results = {variant: {seed: kept_results(done) for seed, done in by.items()} for variant, by in runs.items()}
    if suite is not None:
        names = [done.name for by in runs.values() for done in by.values()]
        data = {name: where[name] for name in ("data_root", "trust_remote_code") if name in where}
        found = evaluate(
            suite, store=target, aligners=names, datasets=datasets, device=base.device, on_event=on_event, **data
        ).results
        for variant, by in runs.items():
            for seed, done in by.items():
                results[variant][seed] += [result for result in found if result.aligner == done.name]
    ordered = {one.name: results[one.name] for one in variants if one.name in results}
    means = tuple(row for variant, by_seed in ordered.items() for row in seed_means(variant, by_seed))
    contrasts = [(a, b) for a, b in contrasts_of(variants, axes) if a.name in ordered and b.name in ordered]
    done_sweep = Sweep(
        name=name,
        seeds=tuple(seeds),
        aligners={variant: {seed: done.name for seed, done in by.items()} for variant, by in runs.items()},
        rates={variant: [done.trained.rate for done in by.values()] for variant, by in runs.items()},
        means=means,
        differences=tuple(
            row for a, b in contrasts for row in seed_differences(a.name, ordered[a.name], b.name, ordered[b.name])
        ),
        efficiency=tuple(efficiency_of(contrasts, means)) if curve else (),
        failed=tuple(failed),
        seconds=time.perf_counter() - began,
    )
    target.folder("sweeps", name).write("sweep.json", to_json(done_sweep.to_json()))
    return done_sweep


def _train(
    variants: Sequence[Variant],
    axes: Sequence[str],
    layers: str,
    store: Store,
    base: TrainingOptions,
    *,
    seeds: Sequence[int],
    pairs: int | None,
    name: str,
    where: Mapping[str, Any],
    on_event: Listener,
) -> tuple[dict[str, dict[int, Aligned]], list[dict[str, str]]]:
    """Variant -> seed -> run, and what could not be trained. Raises StructureError where nothing could."""
    held = HeldLayers()
    rates: dict[Any, float] = {}
    runs: dict[str, dict[int, Aligned]] = {}
    failed: list[dict[str, str]] = []
    number = itertools.count(1)
    # Variants with the regulariser go first, so that a shared rate is one found with all losses in place.
    for variant in sorted(variants, key=lambda one: one.values.get("regulariser") == "none"):
        for seed in seeds:
            settings = dict(variant.values)
            count, chosen = settings.pop("pairs", pairs), settings.pop("layers", layers)
            # Of a comparison all variants share one rate, of a grid the seeds of a variant.
            shared = (settings.get("method"), variant.without(*axes))
            run = base.changed(**_of(base, settings), seed=seed)
            if isinstance(run, GradientOptions) and run.learning_rate is None:
                run = run.changed(learning_rate=rates.get(shared))
            on_event(Progress("runs", next(number), len(variants) * len(seeds), "runs"))
            try:
                done = align(
                    chosen,
                    store=store,
                    options=run,
                    pairs=count,
                    name=_slug(name, variant, seed),
                    held=held,
                    reuse=True,
                    on_event=_quieter(on_event),
                    **where,
                )
            except StructureError as error:
                failed.append({"variant": variant.name, "seed": str(seed), "why": str(error)})
                on_event(Note(f"{variant.name}: {error}"))
                break
            if done.trained.rate is not None:
                rates.setdefault(shared, done.trained.rate)
            runs.setdefault(variant.name, {})[seed] = done
    if not runs:
        raise StructureError(f"No variant could be trained. {failed[0]['variant']}: {failed[0]['why']}")
    return runs, failed


def _of(base: TrainingOptions, settings: Values) -> dict[str, Any]:
    """Of the settings of a variant those that its method has."""
    return applicable({"method": base.method, **settings})


def _require(
    variants: Sequence[Variant], base: TrainingOptions, seeds: Sequence[int], *, varied: Collection[str]
) -> None:
    """Raises StructureError for what no data could mend; `varied` are the training options that were asked for."""
    twice = next((seed for seed in seeds if list(seeds).count(seed) > 1), None)
    if twice is not None:
        raise StructureError(
            f"Seed {twice} stands twice: the same run again says nothing about the spread. Leave it out."
        )
    settings = [dict(variant.without(*OTHER_AXES)) for variant in variants]
    asked = [{name: value for name, value in one.items() if name in varied} for one in settings]
    require_applicable({"method": base.method, **one} for one in asked)
    for one in settings:
        base.changed(**_of(base, one))


def variants_of(
    grid: Mapping[str, Sequence[Any]], compare: tuple[str, Sequence[Any]] | None, curve: Sequence[int]
) -> list[Variant]:
    """Every combination, the compared axis last but for the curve's. Raises StructureError for an axis that is none."""
    axes: dict[str, Sequence[Any]] = dict(grid)
    if compare:
        if len(set(compare[1])) < 2:
            raise StructureError(
                f"--compare {compare[0]}: one value is no comparison. Give two, such as structure,none."
            )
        axes[compare[0]] = compare[1]
    known = [*all_option_names(), *RENAMED, *OTHER_AXES]
    for axis in axes:
        if axis not in known:
            raise unknown("option to vary", axis, known)
        if axis == "seed":
            raise StructureError("The seed is no axis of a grid: pass --seeds.")
    if curve:
        if "pairs" in axes:
            raise StructureError("--curve varies the number of pairs: it cannot be an axis of the grid as well.")
        axes["pairs"] = sorted(set(curve))
    cells = [dict(zip(axes, corner, strict=True)) for corner in itertools.product(*axes.values())]
    if curve and not compare:
        cells += [baseline for cell in cells if (baseline := {**cell, **BASELINE}) not in cells]
    return [Variant(cell) for cell in cells]


def contrasts_of(variants: Sequence[Variant], axes: Sequence[str]) -> list[tuple[Variant, Variant]]:
    """Every variant with each later one that differs from it on `axes` alone."""
    if not axes:
        return []
    return [(a, b) for a, b in itertools.combinations(variants, 2) if a.without(*axes) == b.without(*axes)]


def kept_results(done: Aligned) -> list[Result]:
    """What the run itself measured, as results: validation pairs, and test pairs where some were held back."""
    rows = []
    for dataset, metrics, n in (
        ("validation", done.trained.metrics, done.trained.validation_pairs),
        ("test", done.test, done.test_pairs),
    ):
        for metric, value in metrics.items():
            k = int(metric.partition("@")[2] or 1)
            chance = k / n if "recall" in metric else None
            rows.append(
                Result(done.name, "pairs", dataset, "held-out pairs", metric, value, value, value, n, chance, {})
            )
    return rows


def efficiency_of(contrasts: Sequence[tuple[Variant, Variant]], means: Sequence[SeedMean]) -> list[dict[str, Any]]:
    """U of the first of each contrasted pair against the second, for every test or suite metric with a chance level."""
    value = {(row.variant, row.dataset, row.task, row.metric): row.value for row in means}
    metrics = {
        (row.dataset, row.task, row.metric) for row in means if row.chance is not None and row.dataset != "validation"
    }
    groups: dict[tuple[Any, Any], dict[int, tuple[str, str]]] = {}
    for first, second in contrasts:
        if first.values["pairs"] == second.values["pairs"]:
            key = (first.without("pairs"), second.without("pairs"))
            groups.setdefault(key, {})[first.values["pairs"]] = (first.name, second.name)
    rows = []
    for (ours, theirs), points in groups.items():
        for metric in sorted(metrics):
            counts = [n for n in sorted(points) if all((name, *metric) in value for name in points[n])]
            if not counts:
                continue
            reached = [[value[(points[n][side], *metric)] for n in counts] for side in (0, 1)]
            found = label_efficiency(counts, *reached)
            told = {
                "variant": Variant(dict(ours)).name,
                "baseline": Variant(dict(theirs)).name,
                **dict(zip(("dataset", "task", "metric"), metric, strict=True)),
            }
            rows += [told | point.row() for point in found]
            bounds = {point.bound for point in found if point.bound}
            mean = sum(point.saving for point in found) / len(found)
            rows.append(told | {"pairs": None, "U": mean, "bound": "about" if len(bounds) > 1 else "".join(bounds)})
    return rows


def _slug(name: str, variant: Variant, seed: int) -> str:
    values = [f"{key}={value}".replace(",", "+").replace("/", "_") for key, value in variant.values.items()]
    return "-".join([name, *values, f"seed{seed}"])


def _quieter(on_event: Listener) -> Listener:
    """Passes progress on, not the notes that every run repeats."""

    def listener(event: Event) -> None:
        if isinstance(event, Progress):
            on_event(event)

    return listener
