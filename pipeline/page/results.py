"""Every number of every aligner, and the published ones beside them."""

from __future__ import annotations

from structure.pipeline.page.blocks import Block, Section, Table, Text
from structure.pipeline.page.source import Source
from structure.pipeline.results import notes_of
from structure.pipeline.suites.published import published_comparison


def section(source: Source) -> Section:
    """A row a number, with its interval, chance, and how many samples it is of."""
    if not source.results:
        missing = Text("No result yet. The scenes need no data:", "structure eval --suite scenes")
        return Section("results", "Results of every aligner", [missing])
    columns = {
        "aligner": "aligner",
        "suite": "suite",
        "dataset": "dataset",
        "metric": "metric",
        **({"prompts": "prompts"} if _asked_twice(source) else {}),
        "value": "value",
        "low": "low",
        "high": "high",
        "chance": "chance",
        "n": "n",
    }
    caption = "Every number with its 95 % bootstrap interval over the test samples, and the level of chance"
    blocks: list[Block] = [Table(caption, columns, [result.shown() for result in source.results])]
    areas = [
        {"aligner": result.aligner, "dataset": result.dataset, **row}
        for result, table in source.saved("classes")
        for row in table.to_pylist()
    ]
    if areas:
        named = {name: name for name in ("aligner", "dataset", "class", "positives", "auroc", "low", "high")}
        caption = "AUROC by class with its 95 % bootstrap interval over the test samples; chance is .5 for every class"
        blocks.append(Table(caption, named, areas))
    without = notes_of(source.results)
    blocks += [Text(f"Excluded samples: {'; '.join(without)}.", small=True)] if without else []
    seen = sorted({r.dataset for r in source.results if r.provenance.get("items_trained_on")})
    if seen:
        blocks.append(Text(f"Aligners were trained on samples that they are tested on: {', '.join(seen)}."))
    return Section("results", "Results of every aligner", blocks)


def _asked_twice(source: Source) -> bool:
    """Whether an aligner was asked about the same data with several prompts."""
    rows = [(result.aligner, *result.question[:4], result.metric) for result in source.results]
    return len(set(rows)) < len(rows)


def published(source: Source) -> Section:
    """Published numbers beside ours."""
    rows = [
        {
            **pair.row(),
            "encoders": f"{pair.number.vision} + {pair.number.text}" + (" (ours)" if pair.same_encoders else ""),
            "other": bool(pair.differences) or not pair.same_encoders,
        }
        for pair in published_comparison(source.results)
    ]
    columns = {
        "aligner": "aligner",
        "dataset": "dataset",
        "metric": "metric",
        "value": "ours",
        "published": "published",
        "method": "method",
        "encoders": "encoders",
        "protocol": "protocol",
        "source": "source",
    }
    why = "Greyed: protocol or encoders differ, so the two numbers are not comparable."
    blocks = [Table("Published numbers beside ours", columns, rows, dim="other", dim_means=why)] if rows else []
    return Section("published", "Published numbers", blocks)
