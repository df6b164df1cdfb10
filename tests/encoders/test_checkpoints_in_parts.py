"""Checkpoints that hold less than a whole model, or say in another file how inputs are prepared."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from structure.pipeline.encoders import describe, load_encoder
from structure.store.errors import StructureError
from tests.encoders.conftest import TEXT, TEXTS, VIT, tokenizer

T5 = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 3, "num_heads": 2, "vocab_size": 20}
SPECIAL = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}


def _pooled(spec: str, layer: str) -> torch.Tensor:
    encoder = load_encoder(spec)
    return encoder.encode([encoder.preprocess(text) for text in TEXTS])[layer]


@pytest.mark.parametrize("says_so", [True, False])
def test_an_encoder_alone_is_read_as_that_of_the_whole_model(says_so: bool, tmp_path: Path) -> None:
    """Sentence-T5 and the text towers of image generators are saved so, some as models with a decoder."""
    import transformers

    torch.manual_seed(0)
    whole = transformers.T5Model(transformers.T5Config(**T5, decoder_start_token_id=0, **SPECIAL)).eval()
    alone = transformers.T5EncoderModel(transformers.T5Config(**T5, **SPECIAL)).eval()
    alone.config.is_encoder_decoder = not says_so
    alone.load_state_dict({name: whole.state_dict()[name] for name in alone.state_dict()})
    for name, module in (("whole", whole), ("alone", alone)):
        module.save_pretrained(tmp_path / name)
        tokenizer(tmp_path / name)
    both = [_pooled(f"hf:{tmp_path / name}", "final_norm") for name in ("whole", "alone")]
    assert torch.equal(*both)
    assert load_encoder(f"hf:{tmp_path / 'alone'}").provenance["dropped"] == []
    assert describe(f"hf:{tmp_path / 'alone'}").layers == describe(f"hf:{tmp_path / 'whole'}").layers


def test_an_encoder_without_all_of_its_weights_is_refused(tmp_path: Path) -> None:
    import transformers
    from safetensors.torch import load_file, save_file

    torch.manual_seed(0)
    transformers.T5EncoderModel(transformers.T5Config(**T5, decoder_start_token_id=0, **SPECIAL)).save_pretrained(
        tmp_path
    )
    tokenizer(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    gone = weights.pop("encoder.block.1.layer.0.SelfAttention.k.weight")
    assert gone is not None
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(StructureError, match=r"lacks 1 of the model's weights, first encoder.block.1"):
        load_encoder(f"hf:{tmp_path}")


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("Yoso", TEXT | {"max_position_embeddings": 24}),
        (
            "LED",
            {
                "d_model": 16,
                "encoder_layers": 2,
                "decoder_layers": 1,
                "vocab_size": 20,
                "attention_window": 4,
                "encoder_attention_heads": 2,
                "decoder_attention_heads": 2,
                "encoder_ffn_dim": 24,
                "decoder_ffn_dim": 24,
                "max_encoder_position_embeddings": 24,
                "decoder_start_token_id": 2,
            },
        ),
    ],
)
def test_a_text_is_cut_where_the_positions_end(model: str, options: dict[str, int], tmp_path: Path) -> None:
    """Whatever the tokenizer says, and however many rows the position table has."""
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{model}Config")(**options, **SPECIAL)
    getattr(transformers, f"{model}Model")(config).eval().save_pretrained(tmp_path)
    tokenizer(tmp_path, longest=int(1e30))
    encoder = load_encoder(f"hf:{tmp_path}")
    assert encoder.limit == 24
    ids = encoder.preprocess(" ".join(TEXTS * 3))
    assert (len(ids), ids.cut > 0) == (24, True)
    assert torch.isfinite(encoder.encode([ids])["block.00"]).all()


def test_how_images_are_prepared_may_stand_in_the_processors_file(tmp_path: Path) -> None:
    """transformers 5 saves a processor of both towers as one file."""
    import transformers

    torch.manual_seed(0)
    config = transformers.CLIPConfig(
        text_config=TEXT | SPECIAL | {"max_position_embeddings": 24}, vision_config=VIT, projection_dim=8
    )
    transformers.CLIPModel(config).eval().save_pretrained(tmp_path)
    images = transformers.CLIPImageProcessor(size={"shortest_edge": 33}, crop_size={"height": 32, "width": 32})
    transformers.CLIPProcessor(images, tokenizer(tmp_path, longest=24)).save_pretrained(tmp_path)
    if not (tmp_path / "processor_config.json").is_file():
        pytest.skip("this version of transformers saves two files")
    assert not (tmp_path / "preprocessor_config.json").exists()
    assert "centre crop 32 x 32" in describe(f"hf:{tmp_path}#visual").preprocessing
    assert load_encoder(f"hf:{tmp_path}#visual").provenance["preprocessing"]["input_size"] == [32, 32]


def test_a_model_of_one_channel_takes_the_usual_three_equal_numbers(tmp_path: Path) -> None:
    """A processor that is saved with its defaults beside a model of grey images."""
    import transformers

    torch.manual_seed(0)
    transformers.ViTModel(transformers.ViTConfig(**VIT, num_channels=1)).eval().save_pretrained(tmp_path)
    sizes = {"size": {"height": 32, "width": 32}}
    processor = transformers.ViTImageProcessor(**sizes, do_convert_rgb=True)
    processor.save_pretrained(tmp_path)
    encoder = load_encoder(f"hf:{tmp_path}")
    grey = Image.new("RGB", (32, 32), (51, 51, 51))
    assert encoder.preprocess(grey).shape == (1, 32, 32)
    torch.testing.assert_close(encoder.preprocess(grey), torch.full((1, 32, 32), (0.2 - 0.5) / 0.5))
    transformers.ViTImageProcessor(**sizes, image_mean=[0.4, 0.5, 0.6]).save_pretrained(tmp_path)
    with pytest.raises(StructureError, match=r"image_mean \[0.4, 0.5, 0.6\] for three colours.*Write one there"):
        load_encoder(f"hf:{tmp_path}")
    transformers.ViTImageProcessor(**sizes, image_mean=[0.5], image_std=[0.5]).save_pretrained(tmp_path)
    assert load_encoder(f"hf:{tmp_path}").preprocess(grey).shape == (1, 32, 32)
