"""Some of every kind of architecture against the library itself; `python -m tests.encoders.architectures` runs all."""

from __future__ import annotations

import pytest
import torch

from tests.encoders.architectures import comparison, of_timm, of_transformers

TEXT = "albert aimv2_text_model bart bert bloom convbert deberta-v2 distilbert electra fnet funnel gpt2 ibert led llama"
TEXT += " longformer mamba modernbert mpnet nystromformer openai-gpt opt roberta-prelayernorm t5 xlnet"
VISION = "beit deit dinov2 dinov3_convnext hiera ijepa mobilenet_v1 pixtral pixio radio segformer vitdet yolos"
VISION += " sam_vision_model"
AUDIO = "audio-spectrogram-transformer hubert wavlm"
REFUSED = ["bros", "canine", "deepseek_v4", "flava", "poolformer", "pvt_v2", "siglip2_vision_model"]
TIMM = ["ghostnet_050", "mobilenetv3_small_050", "resnet18", "test_convnext", "test_vit", "vit_tiny_patch16_224"]


@pytest.mark.parametrize("name", [*TEXT.split(), *VISION.split(), *AUDIO.split(), "clip", "owlvit"])
@pytest.mark.filterwarnings("ignore")  # libraries' own, about configs that no checkpoint has
def test_layers_equal_transformers_alone_and_in_a_batch(name, tmp_path):
    verdicts = of_transformers.check(name, tmp_path / "model")
    assert {verdict.kind for verdict in verdicts.values()} <= {"equal", "not built"}, verdicts


@pytest.mark.parametrize(
    "name", ["bros", "canine", "deepseek_v4", "flava", "poolformer", "pvt_v2", "siglip2_vision_model"]
)
@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_read_is_refused_in_one_line(name, tmp_path):
    for verdict in of_transformers.check(name, tmp_path / "model").values():
        assert verdict.kind == "refused", verdict
        assert "\n" not in verdict.why


@pytest.mark.parametrize("name", TIMM)
def test_layers_equal_timm_alone_and_in_a_batch(name):
    assert of_timm.check(name) == {name: comparison.Verdict("equal")}


def test_the_comparison_finds_faults(tmp_path, monkeypatch):
    """Blocks that are numbered wrongly, and rows that move, are told."""
    from structure.pipeline.encoders import taps, torch_encoder

    monkeypatch.setattr(torch_encoder.TorchEncoder, "grouping", "batch")
    out = taps.first_tensor
    monkeypatch.setattr(taps, "first_tensor", lambda output: out(output).roll(1, dims=0) * 1.01)
    monkeypatch.setattr(torch, "inference_mode", torch.no_grad)
    verdict = of_timm.check("test_vit")["test_vit"]
    assert verdict.kind == "different"
    assert "moves in a batch" in verdict.why
    assert "none of the layers" in verdict.why
