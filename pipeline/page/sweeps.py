"""Results over seeds of recipes and sweeps: means, paired differences, data efficiency, correlations."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from structure.pipeline import charts
from structure.pipeline.charts import Fields, LineStyle, Marks, Reference
from structure.pipeline.metrics.chance import shown_rows
from structure.pipeline.metrics.intervals import is_significant, multiplicity
from structure.pipeline.page.blocks import Block, Chart, Section, Table, Text, plural
from structure.pipeline.page.metric_names import display_name, is_fraction, other_direction
from structure.pipeline.page.source import Source
from structure.pipeline.shown_paths import shown_text
from structure.pipeline.similarity.charts import correlation_titles, similarity_against_value

MOST = 12
"""Charts of one kind; the tables have every number."""

Rows = Sequence[Mapping[str, Any]]
_Row = TypeVar("_Row", bound=Mapping[str, Any])
HIDDEN = ("loss", "R_S_vision", "R_S_text")
_PAIRS = re.compile(r"(?:^| )pairs=(\d+)")
_SEEDS = {"value": "mean", "low": "low", "high": "high"}


def section(source: Source) -> Section:
    """Means over seeds of every variant."""
    blocks: list[Block] = []
    for name, run in _runs(source):
        means = [row for row in run["means"] if row["metric"] not in HIDDEN]
        blocks += _mean_charts(name, means, run.get("metrics", ()))
        blocks.append(_mean_table(name, means))
        blocks += _not_trained(run)
    for name in source.outdated:
        told = f"{name} is left out: aligners of its names were trained anew since. Run it again to have its numbers."
        blocks.append(Text(told, small=True))
    return Section("means", "Means over seeds", blocks)


def differences(source: Source) -> Section:
    """Paired differences: over seeds, and of two aligners over the same samples."""
    blocks: list[Block] = []
    for name, run in _runs(source):
        rows = [row for row in run.get("differences", ()) if row["metric"] not in HIDDEN]
        if rows:
            blocks += [*_difference_charts(name, rows), _difference_table(name, rows), _by_chance(rows)]
    for document in source.comparisons:
        blocks += [_samples(document), _by_chance(document["differences"])]
    return Section("differences", "Paired differences", blocks)


def efficiency(source: Source) -> Section:
    """Value over the number of pairs, and how many more pairs the baseline needs."""
    blocks: list[Block] = []
    for name, run in _runs(source):
        blocks += _pair_curves(name, run["means"])
        if run.get("efficiency"):
            blocks.append(_needed(name, run["efficiency"]))
    return Section("efficiency", "Data efficiency", blocks)


def correlations(source: Source) -> Section:
    """How the similarity of two layers goes with what their aligner reaches."""
    blocks: list[Block] = []
    for name, run in _runs(source):
        rows = run.get("correlations", ())
        blocks += [_scatter(each) for each in rows[:MOST]]
        if rows:
            columns = {
                "group": "encoders",
                "dataset": "dataset",
                "metric": "metric",
                "rho": "Spearman's rho",
                "p_value": "p",
                "layer_pairs": "layer pairs",
            }
            blocks.append(Table(f"{name}: similarity against value, over layer pairs", columns, rows, {"p_value": 4}))
    return Section("correlations", "Similarity of layers against what aligners reach", blocks)


def _runs(source: Source) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for summary in source.summaries:
        if summary.get("means"):
            yield summary["recipe"], summary


def _groups(rows: Iterable[_Row]) -> dict[tuple[str, str], list[_Row]]:
    """Rows by (dataset, metric), in their order."""
    groups: dict[tuple[str, str], list[_Row]] = {}
    for row in rows:
        groups.setdefault((row["dataset"], row["metric"]), []).append(row)
    return groups


def _mean_charts(name: str, means: Rows, metrics: Sequence[str]) -> Iterator[Block]:
    """Charts of the metrics that the suite's tasks are about (both directions of a retrieval), else of all."""
    shown = {*metrics, *map(other_direction, metrics)}
    groups = {
        key: rows
        for key, rows in _groups(shown_rows(means, sorted(shown)) if shown else means).items()
        if len(rows) > 1 and not any(_PAIRS.search(r["variant"]) for r in rows)
    }
    for (dataset, metric), rows in list(groups.items())[:MOST]:
        titles = {"variant": "variant", **_SEEDS, "seeds": "seeds", "value": display_name(metric)}
        chance = rows[0].get("chance")
        fields = Fields("value", "variant", titles, ["variant:N", "value", "low", "high", "seeds:d"])
        spec = charts.intervals(rows, fields, low_high=("low", "high"), references=_chance(rows[0]))
        values = "; ".join(f"{r['variant']} {r['value']:.3f}{_between(r)}" for r in rows)
        of_chance = "" if chance is None else f" Chance is {chance:.3f}."
        title = f"{dataset}: {display_name(metric)}"
        table = Table(title, {"variant": "variant", **_SEEDS, "seeds": "seeds"}, rows)
        yield Chart(
            title, f"A dot with its 95 % interval for each variant: {values}.{of_chance}", spec, table, metric=metric
        )
    if len(groups) > MOST:
        yield Text(f"Charts of the first {MOST} of {len(groups)} metrics of {name}; the table has all.", small=True)


def _chance(row: Mapping[str, Any]) -> list[Reference]:
    """The level of chance as a reference line, where it is known."""
    return [] if row.get("chance") is None else [Reference("chance", row["chance"])]


def _mean_table(name: str, means: Rows) -> Table:
    caption = (
        f"{name}: means over training seeds with 95 % intervals over seeds and test samples; fractions, not percent"
    )
    columns = {"dataset": "dataset", "metric": "metric", "variant": "variant", **_SEEDS, "chance": "chance"}
    rows = sorted(means, key=lambda row: (row["dataset"], row["metric"]))
    return Table(caption, {**columns, "seeds": "seeds"}, rows)


def _not_trained(run: Mapping[str, Any]) -> Iterator[Block]:
    """Variants that are another one by another name, and those that could not be trained."""
    for variant, trained in run.get("identical", {}).items():
        yield Text(f"{variant} is identical to {trained}: it was trained once.", small=True)
    for variant, other in run.get("same_weights", {}).items():
        yield Text(
            f"{variant} came out as {other}, number for number, with every seed: they are one model.", small=True
        )
    if run.get("failed"):
        columns = {"variant": "variant", "seed": "seed", "why": "why"}
        failed = [{**row, "why": shown_text(row["why"])} for row in run["failed"]]
        yield Table(f"{run['recipe']}: variants that could not be trained", columns, failed)


def _between(row: Mapping[str, Any]) -> str:
    return f" [{row['low']:.3f}, {row['high']:.3f}]" if math.isfinite(row["low"]) else ""


def _difference_charts(name: str, rows: Rows) -> Iterator[Block]:
    """One chart for every (first, second), metrics below each other."""
    pairs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        if is_fraction(row["metric"]):  # the others would dwarf them
            entry = {**row, "what": f"{row['dataset']} {display_name(row['metric'])}"}
            pairs.setdefault((row["first"], row["second"]), []).append(entry)
    titles = {"what": "metric", "value": "difference", "low": "low", "high": "high", "seeds": "seeds"}
    for (first, second), entries in list(pairs.items())[:MOST]:
        fields = Fields("value", "what", titles, ["what:N", "value", "low", "high"])
        no_difference = [Reference("no difference", 0.0)]
        spec = charts.intervals(entries, fields, low_high=("low", "high"), references=no_difference)
        clear = [row for row in entries if _is_clear(row)]
        alt = (
            f"{plural(len(entries), 'difference')}, {first} minus {second}, each a dot with its 95 % interval; "
            f"{len(clear)} intervals exclude zero"
            + ("".join(f"; {row['what']} {row['value']:+.3f}" for row in clear[:8]))
            + "."
        )
        table = Table(f"{first} minus {second}", titles, entries)
        yield Chart(f"{name}: {first} minus {second}", alt, spec, table)


def _difference_table(name: str, rows: Rows) -> Table:
    columns = {"first": "first", "second": "minus second", "dataset": "dataset", "metric": "metric"}
    caption = f"{name}: first minus second with the same seeds, batches, learning rate and selection rule"
    entries = [{**row, "zero": not _is_clear(row)} for row in rows]
    more = {"value": "difference", "low": "low", "high": "high", "seeds": "seeds"}
    why = (
        "Greyed: not statistically significant (the interval contains zero or is over seeds alone, or a single seed "
        "gives none)."
    )
    return Table(caption, {**columns, **more}, entries, dim="zero", dim_means=why)


def _by_chance(rows: Rows) -> Text:
    """How many intervals would exclude zero by chance."""
    return Text(multiplicity((row["low"], row["high"]) for row in rows), small=True)


def _is_clear(row: Mapping[str, Any]) -> bool:
    """Whether a difference is statistically significant."""
    return is_significant(row["low"], row["high"], of_test=bool(row.get("of_test")))


def _samples(document: Mapping[str, Any]) -> Table:
    rows = [{**row, "zero": not is_significant(row["low"], row["high"])} for row in document["differences"]]
    columns = {
        "dataset": "dataset",
        "metric": "metric",
        "first": document["first"],
        "second": document["second"],
        "value": "difference",
        "low": "low",
        "high": "high",
        "n": "n",
        "left_out": "excluded",
    }
    caption = f"{document['first']} minus {document['second']}, sample by sample (bootstrap over the samples)"
    why = "Greyed: not statistically significant (the interval contains zero)."
    return Table(caption, columns, rows, dim="zero", dim_means=why)


def _pair_curves(name: str, means: Rows) -> Iterator[Block]:
    rows: list[dict[str, Any]] = []
    for row in means:
        match = _PAIRS.search(row["variant"])
        if match and row["metric"] not in HIDDEN and row["dataset"] != "validation":
            variant = _PAIRS.sub("", row["variant"]).strip() or "chosen"
            rows.append({**row, "pairs": int(match.group(1)), "line": variant})
    titles = {"pairs": "training pairs", "value": "value", "line": "variant", "low": "low", "high": "high"}
    for (dataset, metric), points in list(_groups(rows).items())[:MOST]:
        if len({row["pairs"] for row in points}) < 2:
            continue
        names = list(dict.fromkeys(row["line"] for row in points))
        for row in points:  # side by side: intervals over the same number of pairs would hide each other
            row["position"] = row["pairs"] * 1.02 ** (names.index(row["line"]) - (len(names) - 1) / 2)
        whole = {**titles, "value": display_name(metric), "position": "training pairs"}
        spec = charts.lines(
            points,
            Fields("position", "value", whole, ["line:N", "pairs:,d", "value", "low", "high"]),
            series="line",
            low_high=("low", "high"),
            marks=Marks(levels=_chance(points[0])),
            style=LineStyle(logarithmic="~s"),
        )
        columns = {"line": "variant", "pairs": "pairs", "value": metric, "low": "low", "high": "high"}
        shown = display_name(metric)
        alt = f"{shown} on {dataset} over the number of training pairs, {_lines(points)}."
        table = Table(f"{dataset} {shown}", columns, points)
        yield Chart(f"{name}: {dataset} {shown} over pairs", alt, spec, table, metric=metric)


def _lines(rows: Iterable[Mapping[str, Any]]) -> str:
    ends: dict[str, list[Mapping[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: row["pairs"]):
        ends.setdefault(row["line"], []).append(row)
    return "; ".join(f"{line} from {_point(each[0])} to {_point(each[-1])}" for line, each in ends.items())


def _point(row: Mapping[str, Any]) -> str:
    return f"{row['value']:.3f} at {row['pairs']:,}"


def _needed(name: str, rows: Rows) -> Table:
    columns = {"variant": "variant", "baseline": "baseline", "dataset": "dataset", "metric": "metric"}
    entries = [{**row, "pairs": "mean" if row["pairs"] is None else f"{row['pairs']:,}"} for row in rows]
    caption = f"{name}: label efficiency U = N^ / N - 1, the share of additional pairs that the baseline needs"
    return Table(caption, {**columns, "pairs": "pairs N", "bound": "bound", "U": "U"}, entries, {"U": 2})


def _scatter(correlation: Mapping[str, Any]) -> Chart:
    points, metric = correlation["points"], display_name(correlation["metric"])
    rho = "undefined" if correlation["rho"] is None else f"{correlation['rho']:.2f}"
    title = f"{correlation['dataset']} {metric}, {correlation['group']}: Spearman's rho {rho}"
    dots = plural(len(points), "dot")
    alt = f"{dots}, one a pair of layers: value over similarity, rank correlation {rho}."
    table = Table(title, correlation_titles(metric), points, {"similarity": 4})
    spec = similarity_against_value(points, metric)
    return Chart(title, alt, spec, table, metric=correlation["metric"])
