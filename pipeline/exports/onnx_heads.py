"""The two heads as ONNX files: features in, embeddings out."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from structure.pipeline.aligners.aligner import Aligner
from structure.pipeline.aligners.heads.head import Head
from structure.store.errors import NotPresentError
from structure.store.without_warnings import without_warnings

OPSET = 18


def write_onnx(aligner: Aligner, folder: Path) -> dict[str, Any]:
    """Write `vision.onnx` and `text.onnx`: input `features` (rows, width) float32, output `embeddings` (rows, dim).

    Rows of the outputs have unit length and their inner product is the aligner's similarity. Raises
    `NotPresentError` without the packages onnx and onnxscript.
    """
    lacking = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if lacking:
        raise NotPresentError(
            f"Writing ONNX needs the package {' and '.join(lacking)}. Run: pip install 'structure-align[onnx]'"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, head in (("vision", aligner.vision), ("text", aligner.text)):
        module = _Unit(head).cpu().eval()
        with without_warnings():  # the exporter warns of its own internals
            program = torch.onnx.export(
                module,
                (torch.randn(2, head.width),),
                input_names=["features"],
                output_names=["embeddings"],
                dynamic_shapes=({0: torch.export.Dim("rows")},),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
            _forget_the_trace(program.model)
            program.save(folder / f"{name}.onnx", external_data=False)
    return {"files": ["vision.onnx", "text.onnx"], "input": "features", "output": "embeddings", "opset": OPSET}


def _forget_the_trace(model: Any) -> None:
    """Remove what the exporter notes for its own debugging, with the files of this machine's source code among it. No
    runtime reads it. `model`: an `onnx_ir.Model`."""
    for graph in (model.graph, *model.functions.values()):
        values = [*graph.inputs, *(model.graph.initializers.values() if graph is model.graph else ())]
        for noted in (graph, *values):
            noted.metadata_props.clear()
        for node in graph.all_nodes():
            for noted in (node, *node.outputs):
                noted.metadata_props.clear()


class _Unit(nn.Module):
    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.head(features), dim=1)
