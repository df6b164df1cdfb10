"""What was run: models, layers, data, versions."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Any

from structure.pipeline.page.blocks import Block, Section, Table, Text
from structure.pipeline.page.source import Source
from structure.pipeline.shown_paths import shown_name


def section(source: Source) -> Section:
    """Recipes, feature sets, the data they are of, and the versions that made them."""
    blocks: list[Block] = [
        Text(f"{summary['recipe']}: {summary['about']}") for summary in source.summaries if summary.get("about")
    ]
    if not source.features:
        return Section("setup", "What was run", [Text("No features yet:", "structure extract --model M --dataset D")])
    blocks += [_models(source), _data(source), _versions(source)]
    if any(features.state != "complete" for features in source.features):
        blocks.insert(-2, Text("Some are not complete. What is missing, and what is running:", "structure status"))
    return Section("setup", "What was run", blocks)


def _models(source: Source) -> Table:
    rows = []
    for features in source.features:
        manifest, encoder = features.manifest, features.manifest.identity["encoder"]
        names = [column.name for column in manifest.columns]
        widths = sorted({column.width for column in manifest.columns})
        rows.append(
            {
                "model": shown_name(str(encoder.get("source") or manifest.encoder)),
                "side": features.modality,
                "data": f"{manifest.dataset}/{manifest.split}",
                "layers": f"{len(names)}: {names[0]}" + (f" … {names[-1]}" if len(names) > 1 else ""),
                "width": ", ".join(map(str, widths)) if len(widths) < 3 else f"{widths[0]} … {widths[-1]}",
                "pooling": ", ".join(manifest.identity.get("extraction", {}).get("pooling", [])),
                "precision": encoder.get("precision", ""),
                "weights": str(encoder.get("weights", ""))[:12],
                "rows": len(features),
                "skipped": len(features.skipped),
                "state": features.state,
            }
        )
    columns = {
        "model": "model",
        "side": "side",
        "data": "data",
        "layers": "layers",
        "width": "width",
        "pooling": "pooling",
        "precision": "run in",
        "weights": "SHA-256 of weights",
        "rows": "rows",
        "skipped": "skipped",
        "state": "state",
    }
    return Table("Frozen encoders and the data they ran over", columns, rows)


def _data(source: Source) -> Table:
    data: dict[tuple[str, str], dict[str, Any]] = {}
    for features in source.features:
        manifest = features.manifest
        identity = manifest.identity.get("data", {})
        row = data.setdefault(
            (manifest.dataset, manifest.split),
            {
                "dataset": manifest.dataset,
                "split": manifest.split,
                "named": shown_name(str((manifest.provenance or {}).get("dataset_spec") or "")) or None,
                "items": None,
                "texts": None,
                "digest": "",
            },
        )
        row["items" if manifest.rows_of == "items" else "texts"] = len(features)
        row["digest"] = " ".join(filter(None, (row["digest"], str(identity.get("digest", ""))[:12])))
    columns = {
        "dataset": "dataset",
        "split": "split",
        "named": "named as",
        "items": "samples",
        "texts": "texts",
        "digest": "SHA-256 of content",
    }
    return Table("Data", columns, list(data.values()))


def _versions(source: Source) -> Table:
    made: dict[str, set[str]] = {}
    for features in source.features:
        facts = features.manifest.provenance or {}
        for name, version in {"structure": facts.get("structure"), **facts.get("libraries", {})}.items():
            made.setdefault(name, set()).add(str(version))
    for record in source.aligners.values():
        for name, version in record.get("versions", {}).items():
            made.setdefault(name, set()).add(str(version))
    here = {"structure": importlib.metadata.version("structure-align"), "python": platform.python_version()}
    rows = [
        {"what": name, "made": ", ".join(sorted(made.get(name, ()))) or None, "here": here.get(name)}
        for name in sorted({*made, *here})
    ]
    return Table("Versions", {"what": "library", "made": "made with", "here": "page written with"}, rows, folded=True)
