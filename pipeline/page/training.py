"""Training of the heads: both parts of the loss over epochs, the learning-rate range test, a row for each run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from structure.pipeline import charts
from structure.pipeline.charts import Fields, LineStyle, Marks
from structure.pipeline.page.blocks import Block, Chart, Section, Table, Text, plural
from structure.pipeline.page.pairs_used import pairs_used
from structure.pipeline.page.source import Source
from structure.pipeline.page.variants import variant

MOST = 24
"""Aligners whose curves are drawn; the table has all."""

Histories = Mapping[str, Sequence[Mapping[str, Any]]]

PARTS = (
    ("contrastive", "contrastive loss", ("val_contrastive",)),
    ("R_S", "R_S (vision + text)", ("val_R_S_vision", "val_R_S_text")),
    ("recall", "R@1, mean of both directions", ("val_image_retrieval_recall@1", "val_text_retrieval_recall@1")),
)


def section(source: Source) -> Section:
    """Curves of the first aligners, and a row for each."""
    if not source.aligners:
        return Section("training", "Training", [Text("No aligner yet:", "structure align --layers auto")])
    blocks: list[Block] = []
    shown = dict(list(source.histories.items())[:MOST])
    if len(source.histories) > len(shown):
        blocks.append(Text(f"Curves of the first {len(shown)} of {len(source.histories)} aligners.", small=True))
    if shown:
        blocks += _curves(shown)
    if source.rates:
        blocks.append(_rates(dict(list(source.rates.items())[:MOST]), source.aligners))
    blocks.append(_table(source.aligners))
    return Section("training", "Training", blocks)


def _curves(histories: Histories) -> Iterator[Chart]:
    for name, title, parts in PARTS:
        rows = [
            {
                "aligner": aligner,
                "variant": variant(aligner),
                "epoch": row["epoch"],
                "value": sum(row[field] for field in parts),
            }
            for aligner, history in histories.items()
            for row in history
            if all(row.get(field) is not None for field in parts)
        ]
        if name == "recall":
            rows = [{**row, "value": row["value"] / 2} for row in rows]
        if not any(row["value"] for row in rows):
            continue  # a part that this method does not have
        titles = {"aligner": "aligner", "variant": "aligner", "epoch": "epoch", "value": title}
        fields = Fields("epoch", "value", titles, ["aligner:N", "epoch:d", "value"])
        spec = charts.lines(rows, fields, series="variant", detail="aligner", style=LineStyle(dots=False))
        ends = [_ends(aligner, [row for row in rows if row["aligner"] == aligner], title) for aligner in histories]
        table = Table(
            f"{title} on validation pairs: first and last epoch",
            {"aligner": "aligner", "first": "first", "last": "last", "lowest": "lowest", "highest": "highest"},
            [row for row in ends if row],
        )
        alt = f"{plural(len(histories), 'line')} over epochs, one an aligner: {title} on validation pairs."
        yield Chart(f"{title[0].upper()}{title[1:]}, validation pairs", alt, spec, table)


def _ends(aligner: str, rows: Sequence[Mapping[str, Any]], title: str) -> dict[str, Any]:
    values = [row["value"] for row in rows]
    if not values:
        return {}
    return {"aligner": aligner, "first": values[0], "last": values[-1], "lowest": min(values), "highest": max(values)}


def _rates(tests: Histories, aligners: Mapping[str, Mapping[str, Any]]) -> Chart:
    rows = [{"aligner": name, **row} for name, test in tests.items() for row in test]
    chosen = []
    for name, test in tests.items():
        rate = aligners[name].get("rate")
        if rate is not None and test:
            nearest = min(test, key=lambda row: abs(row["rate"] - rate))
            chosen.append({"aligner": name, "rate": rate, "loss": nearest["loss"]})
    titles = {"aligner": "aligner", "rate": "learning rate", "loss": "smoothed loss"}
    fields = Fields("rate", "loss", titles, ["aligner:N", "rate:.2e", "loss"])
    style = LineStyle(logarithmic=".0e", dots=False)
    spec = charts.lines(rows, fields, series="aligner", marks=Marks(ringed=chosen), style=style)
    rates = ", ".join(f"{row['aligner']} {row['rate']:.2g}" for row in chosen)
    table = Table("Chosen learning rates", titles, chosen, {"rate": 6, "loss": 4})
    alt = f"Smoothed loss over the learning rate, one line for each test. Chosen: {rates}."
    return Chart("Learning-rate range test (Smith 2015); the chosen rate is ringed", alt, spec, table)


def _table(aligners: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = []
    for name, facts in aligners.items():
        options = facts.get("options", {})
        metrics = facts.get("metrics", {})
        regulariser = options.get("regulariser")
        rows.append(
            {
                "aligner": name,
                "method": options.get("method", ""),
                "vision": facts.get("layers", {}).get("vision"),
                "text": facts.get("layers", {}).get("text"),
                "weight": options.get("weight") if regulariser == "structure" else None,
                "pairs": pairs_used(facts) or None,
                "validation": facts.get("validation_pairs"),
                "epochs": facts.get("epochs"),
                "best": facts.get("best_epoch"),
                "rate": facts.get("rate"),
                "images": metrics.get("image_retrieval_recall@1"),
                "texts": metrics.get("text_retrieval_recall@1"),
                "seconds": facts.get("seconds"),
            }
        )
    columns = {
        "aligner": "aligner",
        "method": "method",
        "vision": "vision layer",
        "text": "text layer",
        "weight": "R_S weight",
        "pairs": "pairs",
        "validation": "for validation",
        "epochs": "epochs",
        "best": "best epoch",
        "rate": "learning rate",
        "images": "T→I R@1",
        "texts": "I→T R@1",
        "seconds": "seconds",
    }
    caption = "Aligners; recalls are of the validation pairs, by which the epoch was chosen"
    return Table(caption, columns, rows, {"rate": 6, "seconds": 1, "weight": 1})
