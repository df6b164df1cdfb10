"""Encoders of one channel, of many, and models of one library that are named as another's."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from structure.pipeline.encoders import describe, load_encoder
from structure.pipeline.encoders.library_errors import library_errors
from structure.store.errors import StructureError
from tests.encoders.conftest import VIT, save


def _hf(folder: Path, channels: int) -> str:
    import transformers

    torch.manual_seed(0)
    save(transformers.ViTModel(transformers.ViTConfig(**VIT, num_channels=channels)), folder)
    transformers.ViTImageProcessor(
        size={"height": 32, "width": 32}, image_mean=[0.4] * channels, image_std=[0.2] * channels
    ).save_pretrained(folder)
    return f"hf:{folder}"


def _timm(folder: Path, channels: int, **stated: Any) -> str:
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    kwargs = {"img_size": 32, "embed_dim": 16, "depth": 2, "num_heads": 2, "in_chans": channels}
    module = timm.create_model("vit_tiny_patch16_224", **kwargs, num_classes=0)
    folder.mkdir()
    save_file(module.state_dict(), folder / "model.safetensors")
    data = {"input_size": [channels, 32, 32], "mean": [0.4] * channels, "std": [0.2] * channels, "crop_pct": 1.0}
    config = {"architecture": "vit_tiny_patch16_224", "num_classes": 0, "model_args": kwargs}
    (folder / "config.json").write_text(json.dumps(config | {"pretrained_cfg": data | stated}))
    return f"timm:vit_tiny_patch16_224@{folder}"


@pytest.mark.parametrize("build", [_hf, _timm])
def test_encoders_of_one_channel_take_images_as_grey(build, tmp_path, images):
    encoder = load_encoder(build(tmp_path / "model", 1))
    assert describe(build(tmp_path / "again", 1)).layers == encoder.layers
    image = images[2].resize((32, 32))
    pixels = encoder.preprocess(image)
    expected = (np.asarray(image.convert("L"), dtype=np.float32) / 255 - 0.4) / 0.2
    np.testing.assert_allclose(pixels[0].numpy(), expected, atol=1e-5)
    assert pixels.shape == (1, 32, 32)
    torch.testing.assert_close(encoder.encode([pixels]), encoder.encode([encoder.preprocess(image.convert("L"))]))


@pytest.mark.parametrize("build", [_hf, _timm])
def test_encoders_of_many_channels_are_refused_in_words(build, tmp_path):
    spec = build(tmp_path / "model", 13)
    for load in (load_encoder, describe):
        with pytest.raises(StructureError, match="images of 13 channels.*structure import"):
            load(spec)


def test_one_channel_with_the_mean_of_three_is_refused(tmp_path):
    with pytest.raises(StructureError, match=r"1 channel, but mean is stated for 3: .*config.json"):
        load_encoder(_timm(tmp_path / "model", 1, input_size=[1, 32, 32], mean=[0.5] * 3, std=[0.5] * 3))


def test_a_timm_folder_named_as_transformers_says_what_to_write_and_that_works(tmp_path):
    right = _timm(tmp_path / "model", 3)
    for load in (load_encoder, describe):
        with pytest.raises(StructureError, match="model of timm") as told:
            load(f"hf:{tmp_path / 'model'}")
        written = re.search(r"Write (\S+)\.$", str(told.value))
        assert written is not None
        assert written[1] == right
    assert load_encoder(written[1]).layers == load_encoder(right).layers


def test_an_open_clip_folder_named_as_transformers_says_what_to_write_and_that_works(tiny):
    with pytest.raises(StructureError, match="model of open_clip") as told:
        load_encoder(f"hf:{tiny('open_clip')}#text")
    written = re.search(r"Write (\S+)\.$", str(told.value))
    assert written is not None
    assert load_encoder(written[1]).modality == "text"


def test_what_a_library_raises_becomes_one_sentence_with_the_shapes():
    inputs = {"pixel_values": torch.zeros(2, 3, 8, 8)}
    words = r"^tiny cannot be run on pixel_values \(2, 3, 8, 8\): KeyError: 'lost'. .*structure import"
    with pytest.raises(StructureError, match=words), library_errors("tiny", inputs):
        raise KeyError("lost")
    with (
        pytest.raises(StructureError, match=r"^tiny cannot be loaded: ValueError: first\. If") as told,
        library_errors("tiny"),
    ):
        raise ValueError("first.\nsecond")
    assert "second" not in str(told.value)
    with pytest.raises(RuntimeError, match="out of memory"), library_errors("tiny"):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
