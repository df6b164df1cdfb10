"""The heads for ONNX runtimes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from structure.pipeline.exports.export_format import ExportFormat, ExportSubject, Written


class OnnxFormat(ExportFormat):
    about = "any ONNX runtime: the two heads, features in, embeddings out"
    contents: ClassVar[Mapping[str, str]] = {
        "vision.onnx": "the vision head: `features` (rows, width) float32 to `embeddings` (rows, dim), unit rows",
        "text.onnx": "the text head, the same",
    }

    def write(self, subject: ExportSubject, folder: Path) -> Written:
        from structure.pipeline.exports.onnx_heads import write_onnx

        rows = f"np.ones((2, {subject.aligner.widths[0]}), np.float32)"
        return Written(
            write_onnx(subject.aligner, folder),
            "import numpy as np\nimport onnxruntime\n"
            'session = onnxruntime.InferenceSession("vision.onnx")\n'
            f'print(session.run(None, {{"features": {rows}}})[0].shape)',
            ["Needs an ONNX runtime alone. The heads take features of the layers below, not images and texts."],
        )
