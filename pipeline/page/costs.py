"""Disk and time used."""

from __future__ import annotations

from structure.pipeline.page.blocks import Block, Section, Table
from structure.pipeline.page.source import Source
from structure.store.disk_usage import disk_usage


def section(source: Source) -> Section:
    """Bytes of each part of the store, and seconds as far as they were recorded."""
    bytes_of = disk_usage(source.store)
    rows = [{"part": part, "mebibytes": size / 2**20} for part, size in bytes_of.items()]
    rows.append({"part": "all", "mebibytes": sum(bytes_of.values()) / 2**20})
    columns = {"part": "part of the store", "mebibytes": "MiB"}
    blocks: list[Block] = [Table("Disk", columns, rows, {"mebibytes": 2})] if bytes_of else []
    seconds = [
        {"what": f"{summary['recipe']}: {stage}", "seconds": float(duration)}
        for summary in source.summaries
        for stage, duration in summary.get("seconds", {}).items()
    ]
    seconds += [
        {"what": f"ranking {ranking.name}", "seconds": float(ranking.document["seconds"])}
        for ranking in source.rankings
        if ranking.document.get("seconds") is not None
    ]
    training = [facts["seconds"] for facts in source.aligners.values() if facts.get("seconds") is not None]
    if training:
        seconds.append({"what": f"training of {len(training)} aligners", "seconds": float(sum(training))})
    if seconds:
        caption = "Time of recipes and sweeps, and again of the rankings and trainings by themselves"
        blocks.append(Table(caption, {"what": "what", "seconds": "seconds"}, seconds, {"seconds": 1}))
    return Section("costs", "Disk and time used", blocks)
