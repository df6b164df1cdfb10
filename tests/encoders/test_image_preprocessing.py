from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from structure.pipeline.encoders import load_encoder, parse_spec
from structure.store.errors import StructureError, UsageError


def gradient(width: int = 96, height: int = 64) -> Image.Image:
    across = np.linspace(0, 255, width, dtype=np.uint8)
    return Image.fromarray(np.repeat(np.tile(across, (height, 1))[..., None], 3, axis=2))


def test_a_spec_keeps_its_image_preprocessing():
    parsed = parse_spec("dinov2-small?image_size=224&crop_pct=1")
    assert (parsed.image_preprocessing.size, parsed.image_preprocessing.crop, parsed.name) == (
        224,
        1.0,
        "dinov2-small-224px-crop1",
    )
    assert parse_spec(str(parsed)).image_preprocessing == parsed.image_preprocessing
    assert parse_spec("dinov2-small").name == "dinov2-small"


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("image_sice=3", "Did you mean image_size"),
        ("image_size=8", "image_size is 8; it is a whole number of pixels from 16 to 4096"),
        ("image_size=big", "image_size is 'big'; it must be a number"),
        ("crop_pct=1.2", "crop_pct is 1.2; it is a fraction above 0 and at most 1"),
        ("", "Unknown option of a model name"),
    ],
)
def test_wrong_image_preprocessing_is_refused(asked, part):
    with pytest.raises(UsageError, match=part):
        parse_spec(f"dinov2-small?{asked}")


def test_a_transformer_reads_other_sizes_with_resampled_positions(tmp_path):
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8
    )
    model = ViTModel(config).eval()
    model.save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    encoder = load_encoder(f"hf:{tmp_path}?image_size=48")
    assert (encoder.side, encoder.grid) == (48, (6, 6))
    pixels = encoder.preprocess(gradient())
    assert pixels.shape == (3, 48, 48)
    with torch.inference_mode():
        expected = model(pixels[None], interpolate_pos_encoding=True, output_hidden_states=True).hidden_states[1][:, 0]
    torch.testing.assert_close(encoder.encode([pixels])["block.00"], expected, atol=1e-5, rtol=1e-5)
    assert load_encoder(f"hf:{tmp_path}").provenance["preprocessing"] != encoder.provenance["preprocessing"]
    with pytest.raises(StructureError, match="crops nothing; crop_pct=0.5 has no meaning"):
        load_encoder(f"hf:{tmp_path}?crop_pct=0.5")


def test_both_libraries_keep_the_whole_image_where_asked(real_data):
    folder = real_data / "encoders"
    for spec in (f"hf:{folder / 'mobilenetv2_in1k_hf'}", f"timm:mobilenetv2_100@{folder / 'mobilenetv2_in1k_timm'}"):
        usual, whole = load_encoder(spec), load_encoder(f"{spec}?image_size=96&crop_pct=1")
        square = gradient(96, 96)
        assert whole.preprocess(square).shape == (3, 96, 96)
        # The gradient's ends are black and white: only the usual crop cuts them off.
        ends = [encoder.preprocess(square)[0, 0, [0, -1]] for encoder in (usual, whole)]
        assert ends[0][0] > -0.95
        torch.testing.assert_close(ends[1], torch.tensor([-1.0, 1.0]), atol=1e-2, rtol=0)


def test_timm_resamples_positions_too(tmp_path):
    import json

    import timm
    from safetensors.torch import save_model

    torch.manual_seed(0)
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2, "num_classes": 0}
    module = timm.create_model("vit_tiny_patch16_224", **sizes)
    save_model(module, str(tmp_path / "model.safetensors"))
    stated = {"timm_name": "vit_tiny_patch16_224", "kwargs": sizes, "input_size": 32, "crop_pct": 1.0}
    (tmp_path / "config.json").write_text(json.dumps(stated))
    encoder = load_encoder(f"timm:vit_tiny_patch16_224@{tmp_path}?image_size=48")
    assert (encoder.side, encoder.grid) == (48, (6, 6))
    assert encoder.encode([encoder.preprocess(gradient())])["block.00"].shape == (1, 16)
