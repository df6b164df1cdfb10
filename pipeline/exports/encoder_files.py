"""An encoder's own files in an exported folder: its weights in safetensors, and what prepares its inputs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, cast

import torch

from structure.pipeline.encoders.hub import weights_in
from structure.pipeline.encoders.loading import parsed_here
from structure.pipeline.encoders.taps import Taps
from structure.pipeline.encoders.timm_encoder import TimmEncoder, TimmPreprocess, arguments_of
from structure.pipeline.encoders.tokens import TextPreprocess, lone_token
from structure.pipeline.encoders.transformers_encoder import TransformersEncoder, has_two_towers
from structure.pipeline.encoders.transformers_images import TransformersPreprocess
from structure.pipeline.exports.side import ExportedSide
from structure.store.errors import StructureError

WEIGHTS = "model.safetensors"


def write_encoder(side: ExportedSide, folder: Path) -> dict[str, Any]:
    """Write the encoder of one side and return how it is read again: what `portable/aligned_tower.py` is told.

    Raises `StructureError` for an encoder of another library than transformers and timm, for one with code of its own,
    and for weights that lie only in pickle files of a model with more than one part.
    """
    folder.mkdir(parents=True)
    if isinstance(side.encoder, TimmEncoder):
        return _write_timm(side, side.encoder, folder)
    if isinstance(side.encoder, TransformersEncoder) and side.encoder.modality in ("vision", "text"):
        return _write_transformers(side, side.encoder, folder)
    raise StructureError(
        f"{side.record.spec} is no image or text model of transformers or timm, and only these run without the package "
        "that read it here. Use --format open-clip for an open_clip model, clip-benchmark for any, or bundle."
    )


def write_tensors(tensors: dict[str, torch.Tensor], file: Path) -> None:
    """Write tensors, each on its own: a view would drag what is behind it along, and two names must share nothing."""
    from safetensors.torch import save_file

    save_file({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}, file)


def _write_timm(side: ExportedSide, encoder: TimmEncoder, folder: Path) -> dict[str, Any]:
    spec, reading = parsed_here(side.record.spec), encoder.reading
    module: Any = encoder.module
    write_tensors(module.state_dict(), folder / WEIGHTS)
    stem = None
    if reading.stages is not None and reading.stages.stem is not None:
        stem = _path_of(module, reading.stages.stem)
    size = spec.image_preprocessing.size if hasattr(module, "set_input_size") else None
    return {
        "library": "timm",
        "architecture": spec.model.split(".")[0],
        "arguments": {**arguments_of(spec), **_classes(module, arguments_of(spec))},
        "size": [size, size] if size else None,
        "transform": encoder.provenance["preprocessing"]["config"],
        "mode": cast(TimmPreprocess, encoder.preprocess).mode,
        "blocks": None if reading.taps is None else _taps(module, reading.taps),
        "stages": None if reading.stages is None else {"names": list(reading.stages.names), "stem": stem},
        **_common(encoder),
    }


def _classes(module: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """How many classes the network was built with, which the bare architecture may have otherwise."""
    count = getattr(module, "num_classes", None)
    return {} if "num_classes" in arguments or count is None else {"num_classes": int(count)}


def _write_transformers(side: ExportedSide, encoder: TransformersEncoder, folder: Path) -> dict[str, Any]:
    source = Path(str(encoder.provenance["location"]))
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    if "auto_map" in config:
        raise StructureError(
            f"{side.record.spec} brings its own code, which is not copied into other folders. Use --format "
            "clip-benchmark or bundle, which load it from where it is."
        )
    part = _part(encoder, source)
    module: Any = encoder.module
    weights = weights_in(source, (WEIGHTS,))
    if weights is not None:
        shards = [weights.name]
        if weights.name != WEIGHTS:
            shards += sorted(set(json.loads(weights.read_text())["weight_map"].values()))
        for name in ("config.json", *shards):
            shutil.copyfile(source / name, folder / name)
    elif part == "whole":
        module.save_pretrained(folder)
    else:
        raise StructureError(
            f"The weights of {side.record.spec} lie in a pickle file and only a part of them is read. Save the model "
            "in safetensors first: AutoModel.from_pretrained(FOLDER).save_pretrained(FOLDER)."
        )
    stated = {
        "library": "transformers",
        "part": part,
        "tower": _path_of(module, encoder.tower) if part in ("visual", "text") else "",
        "call": encoder.call_options,
        "blocks": _taps(encoder.tower, encoder.taps),
        **_common(encoder),
    }
    if encoder.modality == "vision":
        preprocess = cast(TransformersPreprocess, encoder.preprocess)
        preprocess.processor.save_pretrained(folder)
        return stated | {"mode": preprocess.mode}
    words = cast(TextPreprocess, encoder.preprocess)
    words.tokenizer.save_pretrained(folder)
    return stated | {
        "limit": words.limit,
        "segments": words.segments,
        "prompt": words.prompt,
        "pad_id": encoder.pad_id,
        "lone": _lone(words.tokenizer),
        "fixed_length": encoder.fixed_length,
    }


def _common(encoder: TimmEncoder | TransformersEncoder) -> dict[str, Any]:
    tokens = -1 if encoder.grid is None else encoder.prefix + encoder.grid[0] * encoder.grid[1]
    return {"grouping": encoder.grouping, "prefix": encoder.prefix, "tokens": tokens}


def _part(encoder: TransformersEncoder, source: Path) -> str:
    """Which part of what AutoModel loads is read: visual, text, encoder (of a model with a decoder) or whole."""
    import transformers

    if has_two_towers(encoder.module):
        return str(encoder.provenance["tower"])
    config = transformers.AutoConfig.from_pretrained(source, local_files_only=True)
    alone = any(name.endswith("EncoderModel") for name in config.architectures or ())
    return "encoder" if config.is_encoder_decoder or alone else "whole"


def _taps(module: Any, taps: Taps) -> dict[str, Any]:
    return {
        "paths": [_path_of(module, block) for block in dict.fromkeys(taps.blocks)],
        "norm": None if taps.norm is None else _path_of(module, taps.norm),
        "calls": taps.calls or len(taps.blocks),
        "sequence_first": taps.sequence_first,
        "channels_last": taps.channels_last,
    }


def _path_of(module: Any, part: Any) -> str:
    """The name of a part, which `get_submodule` finds again."""
    found = next((path for path, inner in module.named_modules() if inner is part), None)
    if found is None:
        raise StructureError(f"A part of {type(module).__name__} has no name in it: it cannot be read elsewhere.")
    return str(found)


def _lone(tokenizer: Any) -> int:
    try:
        return lone_token(tokenizer)
    except StructureError:  # no text without tokens can be encoded, here or there
        return 0
