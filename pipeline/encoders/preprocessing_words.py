"""How a model's inputs are prepared, in words, for `structure models NAME`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from structure.pipeline.encoders.sentence_conventions import SentenceConventions
from structure.pipeline.encoders.text_prompt import TextPrompt

_LEFT = "an odd margin leaves the window up to one pixel left of where open_clip and timm put it"
_RIGHT = "an odd margin leaves the window up to one pixel right of where transformers puts it"


def of_image_processor(stated: Mapping[str, Any]) -> str:
    """`stated`: a transformers image processor's `to_dict()`."""
    steps = []
    size, crop = dict(stated.get("size") or {}), dict(stated.get("crop_size") or {})
    if stated.get("do_resize", True) and size:
        steps.append(f"resized{_target(size)} ({_filter(stated.get('resample'))})")
    if stated.get("do_center_crop") and crop:
        steps.append(f"centre crop {crop['height']} x {crop['width']}, where {_LEFT}")
    if stated.get("do_normalize", True):
        steps.append(_normalised(stated.get("image_mean"), stated.get("image_std")))
    return f"by transformers' {stated.get('image_processor_type', 'image processor')}: {'; '.join(steps)}"


def of_timm(data: Mapping[str, Any]) -> str:
    """`data`: what timm's `resolve_data_config` returns."""
    height, width = data["input_size"][1:]
    mode = "" if data["crop_mode"] == "center" else f", crop mode {data['crop_mode']}"
    return (
        f"by timm: resized to {int(height / data['crop_pct'])} on the shorter side ({data['interpolation']}){mode}; "
        f"centre crop {height} x {width} (crop_pct {data['crop_pct']:g}), where {_RIGHT}; "
        f"{_normalised(data['mean'], data['std'])}"
    )


def of_open_clip(cfg: Mapping[str, Any]) -> str:
    """`cfg`: open_clip's preprocess_cfg."""
    size = cfg["size"] if isinstance(cfg["size"], Sequence) else (cfg["size"], cfg["size"])
    ways = {
        "shortest": f"resized to {size[0]} on the shorter side ({cfg['interpolation']}); centre crop, where {_RIGHT}",
        "longest": f"resized to {size[0]} on the longer side ({cfg['interpolation']}) and padded",
        "squash": f"resized to {size[0]} x {size[1]}, proportions not kept ({cfg['interpolation']})",
    }
    return f"by open_clip: {ways[cfg['resize_mode']]}; {_normalised(cfg['mean'], cfg['std'])}"


def of_texts(limit: int | None, stated: SentenceConventions, prompt: TextPrompt) -> str:
    """`limit`: the most tokens of a text; `stated`: what the checkpoint says beside its config; `prompt`: what the
    model's name asks for."""
    parts = ["texts of any length" if limit is None else f"at most {limit} tokens"]
    if stated.pooling:
        parts.append(f"pooled by {stated.pooling} as 1_Pooling/config.json says")
    if stated.left_out:
        parts.append(stated.left_out)
    if stated.lowercase:
        parts.append("lower-cased")
    if stated.prompts:
        used = prompt.name or stated.default_prompt or "none"
        known = ", ".join(f"{name} {text!r}" for name, text in stated.prompts.items())
        parts.append(f"prompt: {used}; ?prompt=NAME picks one of {known}")
    return "; ".join(parts)


def _target(size: Mapping[str, int]) -> str:
    if "shortest_edge" in size:
        return f" to {size['shortest_edge']} on the shorter side"
    if "height" in size:
        return f" to {size['height']} x {size['width']}, proportions not kept"
    return f" as {dict(size)}"


def _filter(resample: Any) -> str:
    from PIL.Image import Resampling

    return Resampling(int(resample)).name.lower() if resample is not None else "bilinear"


def _normalised(mean: Any, std: Any) -> str:
    def numbers(values: Any) -> str:
        return " ".join(f"{value:.4g}" for value in values or ())

    return f"minus mean {numbers(mean)}, by std {numbers(std)}"
