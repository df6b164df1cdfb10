"""Tiny open_clip models, and a store with both towers over a few scenes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from structure.pipeline import extract
from structure.store import Store, open_store

TEXT = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
VIT = {"image_size": 32, "layers": 3, "width": 64, "patch_size": 8}


def open_clip_folder(
    folder: Path, vision: dict[str, Any], *, text: dict[str, Any] | None = None, embed_dim: int = 24
) -> Path:
    """A random model built from config, saved as open_clip saves its own."""
    from open_clip.model import CLIP, CustomTextCLIP
    from safetensors.torch import save_file

    torch.manual_seed(0)
    config = {"embed_dim": embed_dim, "vision_cfg": vision, "text_cfg": text or TEXT}
    built = json.loads(json.dumps(config))
    module: Any = CustomTextCLIP(**built) if text else CLIP(**built)
    for name, value in module.named_parameters():
        if name.endswith(".bias"):
            torch.nn.init.normal_(value, std=0.1)  # zeros would hide a bias that is lost
    folder.mkdir()
    weights = {key: value.contiguous() for key, value in module.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    shown = config | ({"custom_text": True} if text else {})
    preprocess = {"size": 32, "mean": [0.5, 0.4, 0.5], "std": [0.3, 0.3, 0.25]}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": shown, "preprocess_cfg": preprocess}))
    return folder


@pytest.fixture(scope="session")
def make_clip() -> Callable[..., Path]:
    """`make_clip(folder, vision_cfg, ...)` -> the folder of a random open_clip model."""
    return open_clip_folder


@pytest.fixture(scope="session")
def clip_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Both towers of a tiny ViT model over 60 scenes; CLS and mean of images, last and mean of texts."""
    root = tmp_path_factory.mktemp("exports")
    model = f"open_clip:local-dir:{open_clip_folder(root / 'tiny-clip', VIT)}"
    store = open_store(root / "store")
    extract([f"{model}#visual"], "scenes:60", store=store, pool=("cls", "mean"))
    extract([f"{model}#text"], "scenes:60", store=store, pool=("last", "mean"))
    return store


@pytest.fixture(scope="session")
def scenes_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The bundled encoders over 60 scenes, with an aligner of every kind of head that can be written elsewhere."""
    from structure.pipeline import align
    from structure.pipeline.aligners.options import TrainingOptions

    store = open_store(tmp_path_factory.mktemp("scenes") / "store")
    scenes = ["bundled:scenes-vit", "bundled:scenes-text"]
    extract(scenes, "scenes:60", store=store, layers=["block.01", "block.03"])
    quick = TrainingOptions(dim=10, epochs=1, learning_rate=1e-2)
    for name, layers, method, more in (
        ("ridge", "block.03,block.01", "ridge", {}),
        ("mlp", "block.03,block.01", "mlp", {}),
        ("csa", "block.01,block.01", "csa", {}),
        ("kernel-csa", "block.03,block.01", "kernel-csa", {}),
        ("joined", "block.03+block.01,block.03", "ridge", {}),
    ):
        align(layers, store=store, options=quick.changed(method=method, **more), name=name, test=0.1)
    return store
