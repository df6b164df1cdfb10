"""The formats of export: every form in which an aligned model is taken elsewhere, by name."""

from __future__ import annotations

from structure.pipeline.exports.export_format import ExportFormat
from structure.pipeline.registry import Registry

_FORMATS = "structure.pipeline.exports.formats"

EXPORT_FORMATS: Registry[type[ExportFormat]] = Registry(
    "format",
    "structure.exports",
    {
        "safetensors": f"{_FORMATS}.safetensors:SafetensorsFormat",
        "open-clip": f"{_FORMATS}.open_clip:OpenClipFormat",
        "clip-benchmark": f"{_FORMATS}.clip_benchmark:ClipBenchmarkFormat",
        "onnx": f"{_FORMATS}.onnx:OnnxFormat",
        "sentence-transformers": f"{_FORMATS}.sentence_transformers:SentenceTransformersFormat",
        "bundle": f"{_FORMATS}.bundle:BundleFormat",
    },
)
"""Name -> class of `export_format.ExportFormat`. Other packages add theirs under the entry point group
`structure.exports`."""
