"""The command line of CLIP_benchmark with the aligned model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from structure.pipeline.exports.export_format import ExportFormat, ExportSubject, Written
from structure.pipeline.exports.usage import MODEL


class ClipBenchmarkFormat(ExportFormat):
    about = "the command line of CLIP_benchmark: python DIR/run.py eval ..."
    contents: ClassVar[Mapping[str, str]] = {
        "run.py": "clip_benchmark's command line with this model: `python run.py eval --dataset NAME ...`",
        "aligner.safetensors": "the weights of both heads",
        "aligner.json": "what the heads are, and which encoders they stand on",
    }

    def write(self, subject: ExportSubject, folder: Path) -> Written:
        from structure.pipeline.exports.clip_benchmark import write_clip_benchmark

        return Written(
            write_clip_benchmark(subject.aligner, folder, trust_remote_code=subject.trust_remote_code),
            MODEL,
            [
                "Needs the packages structure-align and clip-benchmark. The encoders are not in the folder: they are "
                "loaded by the names on record, one in a folder by its path from this folder."
            ],
        )
