"""Layers are what the libraries themselves call their hidden states, from an independent plain call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from structure.pipeline.encoders import load_encoder
from structure.pipeline.encoders.encoder import Hidden

TEXT = ["bert", "roberta", "xlm_roberta", "mpnet", "distilbert", "gte", "gpt2", "llama", "qwen2"]
VISION = ["vit", "dinov2", "dinov2_with_registers", "dinov3_vit", "deit", "beit"]
VISION += ["convnext", "convnextv2", "resnet", "mobilenet_v2"]


def _hidden(encoder: Any, examples: list[Any]) -> dict[str, torch.Tensor]:
    seen: dict[str, Hidden] = {}
    encoder.forward(examples, seen.__setitem__, wanted=frozenset(layer.name for layer in encoder.layers))
    return {name: hidden.values for name, hidden in seen.items()}


def _library(folder: Path, **inputs: torch.Tensor) -> Any:
    import transformers

    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        return model(**inputs, output_hidden_states=True)


def _compare(ours: dict[str, torch.Tensor], out: Any, *, normed: bool, first: str = "embed") -> None:
    """The library's hidden states in order; the last is after the final norm where `normed`."""
    names = [name for name in ours if name == "embed" or name.startswith("block.")]
    names = names[names.index(first) :]
    states = list(out.hidden_states)
    assert len(states) == len(names)
    if normed:
        torch.testing.assert_close(ours["final_norm"], states.pop())
    for name, state in zip(names, states, strict=False):
        torch.testing.assert_close(ours[name], state, msg=name)


@pytest.mark.parametrize("name", TEXT)
def test_text_layers_equal_hidden_states(name, tiny, texts):
    encoder = load_encoder(f"hf:{tiny(name)}")
    ids = encoder.preprocess(texts[1])
    ours = _hidden(encoder, [ids])
    out = _library(tiny(name), input_ids=torch.tensor([ids]))
    _compare(ours, out, normed="final_norm" in ours)
    if "final_norm" in ours:
        last = max(layer for layer in ours if layer.startswith("block."))
        assert not torch.allclose(ours[last], ours["final_norm"])
    if "pooled" in ours:
        torch.testing.assert_close(ours["pooled"], out.pooler_output)


@pytest.mark.parametrize("name", VISION)
def test_vision_layers_equal_hidden_states(name, tiny, images):
    encoder = load_encoder(f"hf:{tiny(name)}")
    pixels = encoder.preprocess(images[0])
    ours = _hidden(encoder, [pixels])
    out = _library(tiny(name), pixel_values=pixels[None])
    # A vision model's last hidden state may be the last block's output or that after the norm: see which it is.
    last = max(layer for layer in ours if layer.startswith("block."))
    normed = not torch.allclose(ours[last], out.hidden_states[-1], atol=1e-5)
    _compare(ours, out, normed=normed, first="block.00" if name == "mobilenet_v2" else "embed")
    if "final_norm" in ours:
        torch.testing.assert_close(ours["final_norm"], out.last_hidden_state)
    if "pooled" in ours:
        torch.testing.assert_close(ours["pooled"], out.pooler_output.flatten(1))


@pytest.mark.parametrize("name", ["clip", "siglip"])
@pytest.mark.parametrize("tower", ["visual", "text"])
def test_towers_equal_the_two_tower_model(name, tower, tiny, images, texts):
    import transformers

    encoder = load_encoder(f"hf:{tiny(name)}#{tower}")
    model = transformers.AutoModel.from_pretrained(tiny(name)).eval()
    with torch.inference_mode():
        if tower == "visual":
            example = encoder.preprocess(images[0])
            out = model.get_image_features(pixel_values=example[None], output_hidden_states=True)
        else:
            example = encoder.preprocess(texts[0])
            tokenizer = transformers.AutoTokenizer.from_pretrained(tiny(name))
            # SigLIP was trained on text padded to full length, without a mask.
            padding = {"padding": "max_length"} if name == "siglip" else {}
            batch = tokenizer([texts[0]], return_tensors="pt", **padding)
            out = model.get_text_features(input_ids=batch["input_ids"], output_hidden_states=True)
    ours = _hidden(encoder, [example])
    _compare(ours, out, normed=False)
    torch.testing.assert_close(ours["pooled"], out.pooler_output)
    part = model.vision_model if tower == "visual" else model.text_model
    norm = part.post_layernorm if tower == "visual" else part.final_layer_norm
    with torch.inference_mode():
        torch.testing.assert_close(ours["final_norm"], norm(out.hidden_states[-1]))


@pytest.mark.parametrize("model", ["test_vit", "test_efficientnet", "test_convnext", "test_resnet"])
def test_timm_layers_equal_its_intermediates(model, tmp_path, images):
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    reference = timm.create_model(model, pretrained=False).eval()
    file = tmp_path / "weights.safetensors"
    save_file(reference.state_dict(), file)
    encoder = load_encoder(f"timm:{model}@{file}")
    pixels = encoder.preprocess(images[0])
    ours = _hidden(encoder, [pixels])
    with torch.inference_mode():
        final, maps = reference.forward_intermediates(pixels[None], output_fmt="NCHW")
        pooled = reference.forward_head(final, pre_logits=True)
    torch.testing.assert_close(ours["pooled"], pooled.flatten(1), rtol=1e-4, atol=1e-5)
    blocks = [values for name, values in ours.items() if name.startswith("block.")]
    if model == "test_vit":
        grid = [values[:, encoder.prefix :].transpose(1, 2).reshape(maps[0].shape) for values in blocks]
        torch.testing.assert_close(grid, list(maps))
        torch.testing.assert_close(ours["final_norm"], final)
    elif model == "test_efficientnet":
        # Read block by block: timm's coarser points must be among them.
        for expected in maps:
            assert any(b.shape == expected.shape and torch.allclose(b, expected, atol=1e-4) for b in blocks)
    else:
        maps = maps[len(maps) - len(blocks) :]
        torch.testing.assert_close(blocks, list(maps), rtol=1e-4, atol=1e-4)


def test_open_clip_towers_equal_the_library(tiny: Callable[[str], Path], images, texts):
    import open_clip

    reference = open_clip.create_model(f"local-dir:{tiny('open_clip')}").eval()
    visual = load_encoder(f"open_clip:local-dir:{tiny('open_clip')}#visual")
    text = load_encoder(f"open_clip:local-dir:{tiny('open_clip')}#text")
    pixels, ids = visual.preprocess(images[0]), text.preprocess(texts[1])
    tokens = open_clip.get_tokenizer(f"local-dir:{tiny('open_clip')}")([texts[1]])
    assert tokens[0, : len(ids)].tolist() == list(ids)
    with torch.inference_mode():
        out = reference.forward_intermediates(
            pixels[None], tokens, image_output_fmt="NLC", image_output_extra_tokens=True, normalize=False
        )
    seen = _hidden(visual, [pixels])
    for index, (patches, prefix) in enumerate(
        zip(out["image_intermediates"], out["image_intermediates_prefix"], strict=True)
    ):
        torch.testing.assert_close(seen[f"block.{index:02d}"], torch.cat([prefix, patches], dim=1))
    torch.testing.assert_close(seen["pooled"], out["image_features"])
    with torch.inference_mode():
        torch.testing.assert_close(seen["final_norm"], reference.visual.ln_post(seen["block.02"]))
    seen = _hidden(text, [ids])
    for index, expected in enumerate(out["text_intermediates"]):
        torch.testing.assert_close(seen[f"block.{index:02d}"], expected)
    torch.testing.assert_close(seen["pooled"], out["text_features"])
    with torch.inference_mode():
        torch.testing.assert_close(seen["final_norm"], reference.ln_final(seen["block.02"]))


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_left_padded_tokenizers_read_as_single_texts(name, tiny, texts):
    """The library, left-padded with its own mask and positions, and ours on the right: the same rows."""
    import transformers

    encoder = load_encoder(f"hf:{tiny(name)}")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny(name), padding_side="left")
    tokenizer.pad_token = tokenizer.eos_token
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    positions = (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)
    model = transformers.AutoModel.from_pretrained(tiny(name)).eval()
    with torch.inference_mode():
        out = model(batch["input_ids"], attention_mask=batch["attention_mask"], position_ids=positions)
    ours = encoder.encode([encoder.preprocess(text) for text in texts], pooling=["last"], layers=["final_norm"])
    torch.testing.assert_close(ours["final_norm"], out.last_hidden_state[:, -1], rtol=1e-4, atol=1e-5)
