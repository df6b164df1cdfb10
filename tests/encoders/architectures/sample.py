"""Some of every kind of architecture: those that the test suite compares, and docs/encoders.md lists."""

from __future__ import annotations

TEXT = "albert aimv2_text_model bart bert bloom convbert deberta-v2 distilbert electra fnet funnel gpt2 ibert led llama"
TEXT += " longformer mamba modernbert mpnet nystromformer openai-gpt opt roberta-prelayernorm t5 xlnet"
VISION = "beit deit dinov2 dinov3_convnext hiera ijepa mobilenet_v1 pixtral pixio radio segformer vitdet yolos"
VISION += " sam_vision_model"
AUDIO = "audio-spectrogram-transformer hubert wavlm"
TRANSFORMERS = (*TEXT.split(), *VISION.split(), *AUDIO.split(), "clip", "owlvit")
REFUSED = ("bros", "canine", "deepseek_v4", "flava", "poolformer", "pvt_v2", "siglip2_vision_model")
TIMM = ("ghostnet_050", "mobilenetv3_small_050", "resnet18", "test_convnext", "test_vit", "vit_tiny_patch16_224")
