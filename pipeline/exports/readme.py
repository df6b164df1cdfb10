"""The README of an export: what is in the folder, how it is loaded, what it was trained on, how well it does, licences.

Its head is that of a model card of the hub. Everything that comes from data or from another machine is escaped.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from typing import Any

from structure.pipeline.aligners.model_card import encoder_rows, plain, summary, table, training_rows
from structure.pipeline.encoders.licences import licence_of
from structure.pipeline.exports.export_format import ExportFormat, ExportSubject, Written
from structure.pipeline.exports.side import WHICH
from structure.pipeline.installed_package import NAME

README = "README.md"
FILL_IN = "unknown"
"""What stands where only the owner of the data can say something."""
Z95 = 1.959963984540054
"""The 97.5 % point of the normal distribution."""


def readme(subject: ExportSubject, form: ExportFormat, name: str, written: Written, files: Sequence[str]) -> str:
    """The Markdown of the folder's README. `name`: of the format; `files`: paths in the folder."""
    aligner, facts = subject.aligner, subject.aligner.metadata
    licences = _licences(facts)
    sections = [
        _head(facts, licences),
        f"# {plain(subject.name)}",
        summary(aligner),
        f"Written by {NAME} in the format `{name}`: {form.about}.",
        "## Load it",
        "In this folder:",
        f"```python\n{written.usage}\n```",
        *written.notes,
        "## What is in the folder",
        table(["file", "what it is"], [(file, _meaning(form, file)) for file in files]),
        "## What it reads",
        table(["side", "encoder", "layer", "width", "features"], encoder_rows(aligner)),
        "## Training",
        table(["", ""], training_rows(facts)),
        "## How well it does",
        *_measured(subject),
        "## Licences",
        table(["of", "licence"], licences),
        "The licence of the data is not on record. Fill it in before you share this folder; look up what is unknown.",
        "## Versions",
        table(["", ""], list(facts.get("versions", {}).items())),
    ]
    return "\n\n".join(sections) + "\n"


def _head(facts: Mapping[str, Any], licences: Sequence[tuple[str, str]]) -> str:
    """The fields that the hub reads, as YAML; every value is JSON, so that no text ends it."""
    records = facts.get("encoders", {})
    bases = [str(records[which].get("spec", "")) for which in WHICH if which in records]
    fields = {
        "license": FILL_IN,
        "license_name": "; ".join(f"{what}: {licence}" for what, licence in licences if what.endswith(" encoder")),
        "base_model": [base.removeprefix("hf:") for base in bases if _on_the_hub(base)],
        "datasets": [],
        "pipeline_tag": "zero-shot-image-classification",
        "tags": ["structure-align", "image-text-retrieval"],
    }
    stated = {key: json.dumps(value).replace("<", "\\u003c") for key, value in fields.items()}
    return "\n".join(["---", *(f"{key}: {value}" for key, value in stated.items()), "---"])


def _on_the_hub(spec: str) -> bool:
    return spec.startswith("hf:") and spec.count("/") == 1 and not spec.startswith(("hf:/", "hf:.", "hf:~"))


def _licences(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    records = facts.get("encoders", {})
    encoders = [(f"the {which} encoder", licence_of(str(records[which].get("spec", "")))) for which in records]
    data = " / ".join(str(part) for part in facts.get("data", {}).values())
    return [*encoders, (f"the data ({data})" if data else "the data", FILL_IN), ("the heads", FILL_IN)]


def _meaning(form: ExportFormat, file: str) -> str:
    return next((text for pattern, text in form.contents.items() if fnmatch(file, pattern)), "")


def _measured(subject: ExportSubject) -> list[str]:
    """Evaluations in the store, then what the training held out; both with 95 % intervals."""
    facts = subject.aligner.metadata
    parts = []
    if subject.results:
        rows = [
            (
                row.suite,
                row.dataset,
                row.metric,
                _number(row.value),
                _bounds(row.low, row.high),
                row.n,
                _chance(row.chance),
            )
            for row in subject.results
        ]
        parts.append(table(["suite", "dataset", "metric", "value", "95 % interval", "n", "chance"], rows))
    held = [*_held(facts, "validation", "metrics"), *_held(facts, "test", "test_metrics")]
    if held:
        parts.append(table(["held-out pairs", "metric", "value", "95 % interval", "pairs"], held))
        parts.append(
            "Validation pairs chose settings, so their figures are a little too good; test pairs chose nothing. "
            "Intervals of held-out pairs are Wilson's."
        )
    return parts or ["Nothing was measured."]


def _held(facts: Mapping[str, Any], part: str, key: str) -> list[tuple[Any, ...]]:
    pairs = int(facts.get(f"{part}_pairs") or 0)
    return [
        (part, metric, _number(value), _wilson(value, pairs) if "recall@" in metric else "", pairs)
        for metric, value in facts.get(key, {}).items()
    ]


def _wilson(share: float, n: int) -> str:
    """The 95 % score interval of a share of `n` pairs (Wilson 1927, J. Am. Stat. Assoc. 22)."""
    if n < 1 or not 0 <= share <= 1:
        return ""
    centre = (share + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2))
    return _bounds(max(0.0, centre - half), min(1.0, centre + half))


def _bounds(low: float, high: float) -> str:
    return "" if math.isnan(low) or math.isnan(high) else f"{_number(low)} to {_number(high)}"


def _number(value: float) -> str:
    return f"{value:.4f}"


def _chance(value: float | None) -> str:
    return "" if value is None else _number(value)
