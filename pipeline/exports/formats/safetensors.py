"""The heads as they are in the store: weights in safetensors, the record in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from structure.pipeline.exports.export_format import ExportFormat, ExportSubject, Written
from structure.pipeline.exports.usage import features_usage


class SafetensorsFormat(ExportFormat):
    about = "the heads with their record: load_aligner and any reader of safetensors"
    contents: ClassVar[Mapping[str, str]] = {
        "aligner.safetensors": "the weights of both heads, `vision.*` and `text.*`",
        "aligner.json": "what the heads are and what they were trained on",
    }

    def write(self, subject: ExportSubject, folder: Path) -> Written:
        from structure.pipeline.exports.bundle import portable

        portable(subject.aligner)[0].save(folder)
        return Written(
            {"loads_with": f"structure.pipeline.load_aligner('{folder}')"},
            features_usage(subject.aligner, "from structure.pipeline import load_aligner", 'load_aligner(".")'),
            ["Needs the package structure-align. The heads take features of the layers below, not images and texts."],
        )
