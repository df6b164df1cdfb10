"""One tower of open_clip with an aligner's head as its last projection: what changes in its config and its weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from structure.pipeline.exports.affine import Affine
from structure.store.errors import StructureError

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Tower:
    """`config` is open_clip's `vision_cfg` or `text_cfg`, `weights` the tower's state with names inside the tower."""

    config: dict[str, Any]
    weights: Weights
    quick_gelu: bool


def vision_tower(visual: nn.Module, config: Mapping[str, Any], head: Affine, *, layer: str, pooling: str) -> Tower:
    """The visual tower that puts out head(feature), where the feature is `pooled` or `final_norm` of `visual`.

    open_clip's transformer projects without a bias: its last norm takes the bias over. A ResNet's attention pool and a
    timm trunk's projection have one. Raises `StructureError` for what such a tower cannot put out.
    """
    changed, weights = copy.deepcopy(dict(config)), _state(visual)
    if hasattr(visual, "trunk"):
        _only_pooled(layer, "a timm trunk of open_clip")
        name = next((key for key in ("head.proj", "head.mlp.fc2") if f"{key}.weight" in weights), "")
        if not name and changed.get("timm_proj") != "none":
            raise StructureError(
                f"This tower projects inside its timm trunk (timm_proj {changed.get('timm_proj')!r}), where no head "
                "can follow. Use --format clip-benchmark."
            )
        last = head.after(weights[f"{name}.weight"], weights.get(f"{name}.bias")) if name else head
        changed |= {"timm_proj": changed["timm_proj"] if name else "linear", "timm_proj_bias": True}
        changed["timm_model_pretrained"] = False
        weights |= _linear(name or "head.proj", last)
    elif hasattr(visual, "attnpool"):
        _only_pooled(layer, "a ResNet of open_clip")
        name = "attnpool.c_proj"
        weights |= _linear(name, head.after(weights[f"{name}.weight"], weights[f"{name}.bias"]))
    else:
        last = head.after(weights["proj"].T) if layer == "pooled" else head
        if layer != "pooled":
            _only_final_norm(layer, "ln_post", "visual")
            changed["pool_type"] = {"cls": "tok", "mean": "avg"}.get(pooling) or _no_pooling(pooling, "cls or mean")
        weights |= {"proj": last.weight.T, "ln_post.bias": weights["ln_post.bias"] + _shift(last, "ln_post")}
    return Tower(changed, weights, _quick_gelu(visual))


def text_tower(module: nn.Module, config: Mapping[str, Any], head: Affine, *, layer: str, pooling: str) -> Tower:
    """The text tower that puts out head(feature), where the feature is `pooled` or `final_norm@last`.

    `module` is a text model, or a whole CLIP whose visual tower is gone. Raises `StructureError` for what such a tower
    cannot put out.
    """
    changed, weights = copy.deepcopy(dict(config)), _state(module)
    if hasattr(module, "pooler"):
        _only_pooled(layer, "a Hugging Face text tower of open_clip")
        name = next((key for key in ("proj.2.weight", "proj.weight") if key in weights), "")
        last = head.after(weights[name]) if name else head
        if last.bias.any():
            raise StructureError(
                "open_clip's Hugging Face text towers project without a bias, and this head has one: the embeddings "
                "would differ. Use --format clip-benchmark, which runs the same head."
            )
        changed |= {"hf_proj_type": "mlp" if name == "proj.2.weight" else "linear", "hf_model_pretrained": False}
        weights[name or "proj.weight"] = last.weight
        return Tower(changed, weights, False)
    if layer != "pooled":
        _only_final_norm(layer, "ln_final", "text")
        if pooling != "last" or config.get("pool_type", "argmax") not in ("argmax", "eos"):
            _no_pooling(pooling, "last (the end-of-text token)")
    projection = weights.pop("text_projection", None)
    matrix = weights.get("text_projection.weight", None if projection is None else projection.T)
    last = head if layer != "pooled" or matrix is None else head.after(matrix, weights.get("text_projection.bias"))
    changed |= {"proj_type": "linear", "proj_bias": True}
    weights |= _linear("text_projection", last)
    return Tower(changed, weights, _quick_gelu(module))


def _state(module: nn.Module) -> Weights:
    """Names inside the tower; the visual tower, logit scale and mask of a whole CLIP are no part of its text tower."""
    return {
        name: value.detach()
        for name, value in module.state_dict().items()
        if not name.startswith(("visual.", "logit_")) and name != "attn_mask"
    }


def _linear(name: str, last: Affine) -> Weights:
    return {f"{name}.weight": last.weight, f"{name}.bias": last.bias}


def _shift(last: Affine, norm: str) -> torch.Tensor:
    shift = last.shift()
    if shift is None:
        raise StructureError(
            f"The head's {last.weight.shape[0]} dimensions are more than the tower has before its projection "
            f"({last.weight.shape[1]}), so {norm} cannot carry the head's bias: the embeddings would differ. Train "
            f"with --dim {last.weight.shape[1]} or less, or use --format clip-benchmark."
        )
    return shift


def _only_pooled(layer: str, what: str) -> None:
    if layer != "pooled":
        raise StructureError(
            f"{what} puts out its pooled embedding alone, and this aligner reads {layer}. Align on the layer pooled "
            "(structure align --layers VISION,TEXT), or use --format clip-benchmark."
        )


def _only_final_norm(layer: str, norm: str, tower: str) -> None:
    if layer != "final_norm":
        raise StructureError(
            f"open_clip's {tower} tower ends in the layer norm {norm}, which takes mean and length from every token: "
            f"the raw layer {layer} that this aligner reads cannot come out of it, nor out of a truncated one. Align "
            "on final_norm or pooled (structure align --layers VISION,TEXT), or use --format clip-benchmark, which "
            "reads any layer."
        )


def _no_pooling(pooling: str, possible: str) -> str:
    raise StructureError(
        f"open_clip's tower pools {possible}; this aligner reads final_norm pooled by {pooling!r}. Align on pooled, or "
        "use --format clip-benchmark."
    )


def _quick_gelu(module: nn.Module) -> bool:
    return any(type(part).__name__ == "QuickGELU" for part in module.modules())
