"""An aligned model as a folder that `open_clip.create_model_and_transforms("local-dir:DIR")` loads."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from structure.pipeline.aligners.aligner import Aligner
from structure.pipeline.encoders.model_names import parse_spec
from structure.pipeline.exports.affine import Affine, as_affine
from structure.pipeline.exports.open_clip_towers import Tower, text_tower, vision_tower
from structure.pipeline.exports.side import ExportedSide, load_side
from structure.store.errors import StructureError

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
LOGIT_SCALE = 100.0
AGREEMENT = 1e-4
"""Largest difference of two embeddings (unit rows, float32) that counts as the same."""
PROBES = ("a photo of a cat", "two red circles left of a small blue square", "x")


def write_open_clip(aligner: Aligner, folder: Path) -> dict[str, Any]:
    """Write the folder, load it back through open_clip, and compare embeddings of probes with the aligner's own.

    Exact for affine heads on `pooled` (any open_clip tower) and on `final_norm` (open_clip's own transformers: CLS or
    mean for images, the end-of-text token for texts). Returns what was compared: the largest differences.
    Raises `StructureError`, with what to use instead, for everything that such a model cannot express, and where the
    loaded model's embeddings differ by more than `AGREEMENT`.
    """
    from safetensors.torch import save_file

    heads = _affine_heads(aligner)
    vision, text = load_side(aligner, "vision"), load_side(aligner, "text")
    for side in (vision, text):
        if parse_spec(side.record.spec).library != "open_clip":
            raise StructureError(
                f"{side.record.spec} is no open_clip tower, and open_clip loads only its own: the aligned model cannot "
                "be written as one. Use --format clip-benchmark, which runs any encoder, or onnx for the heads alone."
            )
    image_config = _config_of(vision)["vision_cfg"]
    words_config = _config_of(text)["text_cfg"]
    text_module: Any = text.encoder.module  # type: ignore[attr-defined]
    visual = vision_tower(
        vision.encoder.module,  # type: ignore[attr-defined]
        image_config,
        heads["vision"],
        layer=vision.layer,
        pooling=vision.pooling,
    )
    words = text_tower(
        getattr(text_module, "text", text_module), words_config, heads["text"], layer=text.layer, pooling=text.pooling
    )
    model = {
        "embed_dim": aligner.dim,
        "vision_cfg": visual.config,
        "text_cfg": words.config,
        "quick_gelu": _one_activation(visual, words),
        "custom_text": True,
    }
    weights = {f"visual.{name}": value for name, value in visual.weights.items()}
    weights |= {f"text.{name}": value for name, value in words.weights.items()}
    weights["logit_scale"] = torch.tensor(math.log(LOGIT_SCALE))
    preprocess = vision.encoder.provenance["preprocessing"]["config"]
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = getattr(text.encoder.preprocess.tokenizer, "tokenizer", None)  # type: ignore[attr-defined]
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    save_file({name: _stored(value) for name, value in weights.items()}, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps({"model_cfg": model, "preprocess_cfg": preprocess}, indent=2))
    compared: dict[str, Any] = _compared(folder, vision, text)
    return compared


def _affine_heads(aligner: Aligner) -> Mapping[str, Affine]:
    heads = {"vision": as_affine(aligner.vision), "text": as_affine(aligner.text)}
    bent = [f"{name} ({getattr(aligner, name).kind})" for name, head in heads.items() if head is None]
    if bent:
        raise StructureError(
            f"Heads that are no single matrix cannot be open_clip's last projection: {', '.join(bent)}. Use --format "
            "clip-benchmark, which runs them as they are, or onnx."
        )
    return {name: head for name, head in heads.items() if head is not None}


def _config_of(side: ExportedSide) -> Mapping[str, Any]:
    import open_clip

    spec = parse_spec(side.record.spec)
    if spec.model == "local-dir":
        config: Mapping[str, Any] = json.loads((Path(spec.weights).expanduser() / CONFIG).read_text())["model_cfg"]
        return config
    return dict(open_clip.get_model_config(spec.model))


def _one_activation(visual: Tower, words: Tower) -> bool:
    """QuickGELU or not, for both towers: open_clip has one switch. Towers of other libraries do not look at it."""
    own = {tower.quick_gelu for tower in (visual, words) if "layers" in tower.config}
    if len(own) > 1:
        raise StructureError(
            "One tower computes with QuickGELU and the other with GELU; open_clip has one switch for both. Use "
            "--format clip-benchmark."
        )
    return own.pop() if own else False


def _stored(value: torch.Tensor) -> torch.Tensor:
    kept = value.detach().cpu()
    # A view would drag the whole tensor behind it along, and two names must not share memory.
    return (kept.float() if kept.is_floating_point() else kept).contiguous().clone()


@torch.inference_mode()
def _compared(folder: Path, vision: ExportedSide, text: ExportedSide) -> dict[str, Any]:
    import open_clip
    from PIL import Image

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    model.eval()
    random = np.random.default_rng(0)
    pictures = [Image.fromarray(random.integers(0, 256, (48, 64, 3), dtype=np.uint8)) for _ in range(3)]
    theirs = {
        "images": model.encode_image(torch.stack([preprocess(picture) for picture in pictures]), normalize=True),
        "texts": model.encode_text(tokenizer(list(PROBES)), normalize=True),
    }
    ours = {
        "images": vision.embed([vision.encoder.preprocess(picture) for picture in pictures]),
        "texts": text.embed([text.encoder.preprocess(words) for words in PROBES]),
    }
    found = {name: float((theirs[name] - ours[name]).abs().max()) for name in ours}
    wrong = {name: difference for name, difference in found.items() if not difference <= AGREEMENT}
    if wrong:
        raise StructureError(
            f"The folder that was written does not give the aligner's embeddings: they differ by "
            f"{', '.join(f'{value:.2g} ({name})' for name, value in wrong.items())}, allowed is {AGREEMENT}. This "
            "model's architecture is not expressed exactly. Use --format clip-benchmark."
        )
    return {"largest_difference": found, "loads_with": f"open_clip.create_model_and_transforms('local-dir:{folder}')"}
