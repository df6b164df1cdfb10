"""One side of an aligned model in the modules of sentence-transformers: Transformer, Pooling, Dense, Normalize.

A folder of these alone is loaded without running any code that lies in it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from structure.pipeline.aligners.heads.head import Head
from structure.pipeline.aligners.heads.vector_heads import MlpHead
from structure.pipeline.encoders.transformers_encoder import TransformersEncoder
from structure.pipeline.exports.affine import as_affine
from structure.pipeline.exports.encoder_files import WEIGHTS, write_encoder, write_tensors
from structure.pipeline.exports.side import ExportedSide
from structure.store.errors import StructureError

MODULES = "sentence_transformers.base.modules"
POOLING = "sentence_transformers.sentence_transformer.modules.Pooling"
MODES = {"mean": "mean", "cls": "cls", "max": "max", "last": "lasttoken"}
"""Our poolings by its names for them."""
SAME = 1e-5
"""Norm of the difference over the norm of a layer that counts as the same layer."""

PART = "the modules of sentence-transformers do not read one part of a larger model"

Output = Sequence[str | int]
"""Where a layer stands in what the network returns: ("hidden_states", 6)."""


class NotNative(StructureError):
    """What the modules of sentence-transformers cannot compute, one sentence."""


def write_native(side: ExportedSide, folder: Path, *, modality: str, probe: Any) -> dict[str, str]:
    """Write the modules of one route below `folder` and return their classes by folder name, in order.

    `probe`: an image or a text by which the layer is found in what the network returns. Raises `NotNative` for what
    these modules cannot compute, `StructureError` as `write_encoder`.
    """
    head = getattr(side.aligner, side.which)
    maps = _dense_layers(head)
    layer, pooling = _only_column(side)
    if maps is None:
        raise NotNative(f"sentence-transformers has no module for a {head.kind} head")
    encoder = _plain(side)
    output = _place_of(encoder, layer, side.encoder.preprocess(probe))
    stated = write_encoder(side, folder / "part")
    if stated["part"] != "whole":
        shutil.rmtree(folder / "part")
        raise NotNative(PART)
    is_vector = layer == "pooled"
    names = {f"{modality}_0_Transformer": f"{MODULES}.Transformer"}
    (folder / "part").rename(folder / next(iter(names)))
    _write_json(
        folder / next(iter(names)) / "sentence_bert_config.json",
        {
            "transformer_task": "feature-extraction",
            "modality_config": {modality: {"method": "forward", "method_output_name": list(output)}},
            "module_output_name": "sentence_embedding" if is_vector else "token_embeddings",
            "model_kwargs": {"dtype": "float32"},
            "processor_kwargs": {"model_max_length": stated["limit"]} if stated.get("limit") else {},
        },
    )
    if not is_vector:
        names[f"{modality}_{len(names)}_Pooling"] = POOLING
        width = head.width
        config = {"embedding_dimension": width, "pooling_mode": MODES[pooling], "include_prompt": True}
        _write_json(folder / list(names)[-1] / "config.json", config)
    for weight, bias, activation in maps:
        names[f"{modality}_{len(names)}_Dense"] = f"{MODULES}.Dense"
        place = folder / list(names)[-1]
        outputs, inputs = weight.shape
        config = {"in_features": inputs, "out_features": outputs, "bias": True, "activation_function": activation}
        _write_json(place / "config.json", config)
        write_tensors({"linear.weight": weight.float(), "linear.bias": bias.float()}, place / WEIGHTS)
    names[f"{modality}_{len(names)}_Normalize"] = f"{MODULES}.Normalize"
    _write_json(folder / list(names)[-1] / "config.json", {})
    return names


def _only_column(side: ExportedSide) -> tuple[str, str]:
    if side.aligner.takes_tokens or len(side.columns) != 1:
        raise NotNative("the modules of sentence-transformers read one layer, pooled to one vector")
    layer, pooling = side.columns[0]
    if layer != "pooled" and side.encoder.prefix and pooling in ("mean", "max"):  # type: ignore[attr-defined]
        raise NotNative("the Pooling of sentence-transformers takes the CLS token for a patch")
    return layer, pooling


def _plain(side: ExportedSide) -> TransformersEncoder:
    """The encoder, where it is read as its library runs it."""
    encoder = side.encoder
    if not isinstance(encoder, TransformersEncoder):
        raise NotNative(f"sentence-transformers has no module that reads the layers of {encoder.provenance['source']}")
    if encoder.provenance.get("tower"):
        raise NotNative(PART)
    odd = encoder.grouping != "batch" or encoder.fixed_length or encoder.pads_inside or encoder.call_options
    if odd or getattr(encoder.preprocess, "segments", False) or getattr(encoder.preprocess, "mode", "RGB") != "RGB":
        raise NotNative("this network needs inputs that the modules of sentence-transformers do not make")
    return encoder


def _dense_layers(head: Head) -> list[tuple[torch.Tensor, torch.Tensor, str]] | None:
    """Weight (out, in), bias (out,) and activation of each Dense; None for a head that is no such chain."""
    none = "torch.nn.modules.linear.Identity"
    affine = as_affine(head)
    if affine is not None:
        return [(affine.weight, affine.bias, none)]
    if isinstance(head, MlpHead):
        gelu = "torch.nn.modules.activation.GELU"
        return [(head.weight1, head.bias1, gelu), (head.weight2, head.bias2, none)]
    return None


@torch.inference_mode()
def _place_of(encoder: TransformersEncoder, layer: str, example: Any) -> Output:
    """Where the layer stands in what the network returns for one example."""
    batch = encoder.collate([example])
    out: Any = encoder.module(**batch.inputs, output_hidden_states=True, return_dict=True)
    if layer == "pooled":
        return ("pooler_output",)
    _, tokens = encoder.encode_tokens([example], {layer: torch.float32}, layers=())
    ours = tokens[layer].values
    states = getattr(out, "hidden_states", None) or ()
    places: list[tuple[Output, torch.Tensor | None]] = [
        (("last_hidden_state",), getattr(out, "last_hidden_state", None))
    ]
    places += [(("hidden_states", index), state) for index, state in enumerate(states)]
    for place, values in places:
        if values is not None and _same(values[0], ours):
            return place
    raise NotNative(f"the network does not return its layer {layer}")


def _same(values: torch.Tensor, ours: torch.Tensor) -> bool:
    """(token, width), or a map (width, height, width_px), against (token, width)."""
    rows = values.flatten(1).T if values.ndim == 3 else values
    return rows.shape == ours.shape and bool((rows.float() - ours).norm() <= SAME * ours.norm())


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2), encoding="utf-8")
