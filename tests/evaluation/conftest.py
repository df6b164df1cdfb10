"""A tiny open_clip model on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The spec of a random two-tower model of 32 pixels, without `#visual` or `#text`."""
    from open_clip.model import CLIP
    from safetensors.torch import save_file

    torch.manual_seed(0)
    folder: Path = tmp_path_factory.mktemp("models") / "tiny-clip"
    vision = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8}
    text = {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    config = {"embed_dim": 12, "vision_cfg": vision, "text_cfg": text}
    folder.mkdir()
    state = CLIP(**json.loads(json.dumps(config))).state_dict()
    save_file({key: value.contiguous() for key, value in state.items()}, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {"size": 32}}))
    return f"open_clip:local-dir:{folder}"
