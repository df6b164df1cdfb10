"""`structure models NAME` says how inputs are prepared: the numbers are those that are used."""

from __future__ import annotations

import json

import pytest

from structure.pipeline.encoders import describe, load_encoder
from structure.store.errors import StructureError
from tests.encoders.conftest import processor


def test_one_checkpoint_in_two_libraries_is_prepared_in_two_ways(real_data):
    folder = real_data / "encoders"
    first = describe(f"hf:{folder / 'mobilenetv2_in1k_hf'}").preprocessing
    second = describe(f"timm:mobilenetv2_100@{folder / 'mobilenetv2_in1k_timm'}").preprocessing
    for words, side in ((first, "left of where open_clip and timm"), (second, "right of where transformers")):
        assert "resized to 256 on the shorter side (bicubic); centre crop 224 x 224" in words
        assert f"up to one pixel {side}" in words
        assert "minus mean 0.5 0.5 0.5, by std 0.5 0.5 0.5" in words


def test_what_the_name_asks_for_is_told(tiny):
    assert (
        "resized to 48 x 48, proportions not kept (bilinear)"
        in describe(f"hf:{tiny('vit')}?image_size=48").preprocessing
    )
    words = describe("timm:resnet18.a1_in1k?image_size=160&crop_pct=1").preprocessing
    assert "resized to 160 on the shorter side" in words
    assert "centre crop 160 x 160 (crop_pct 1)" in words


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("shortest", "resized to 32 on the shorter side"),
        ("longest", "resized to 32 on the longer side (bicubic) and padded"),
        ("squash", "resized to 32 x 32, proportions not kept"),
    ],
)
def test_open_clips_ways_are_told_apart(mode, words, tiny, tmp_path):
    config = json.loads((tiny("open_clip") / "open_clip_config.json").read_text())
    config["preprocess_cfg"] = {"size": 32, "resize_mode": mode}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    assert words in describe(f"open_clip:local-dir:{tmp_path}#visual").preprocessing


def test_texts_are_told_with_their_limit_and_prompts(tiny, tmp_path):
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(tiny("bert"), folder)
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"query": "the cat: "}}))
    words = describe(f"hf:{folder}").preprocessing
    limit = load_encoder(f"hf:{folder}").limit
    assert words == f"at most {limit} tokens; prompt: none; ?prompt=NAME picks one of query 'the cat: '"
    assert "prompt: query" in describe(f"hf:{folder}?prompt=query").preprocessing


def test_clap_is_refused_in_one_line_with_what_to_do(tmp_path):
    import transformers

    transformers.ClapConfig().save_pretrained(tmp_path)
    processor(tmp_path, 32)
    for spec in (f"hf:{tmp_path}", f"hf:{tmp_path}#text"):
        with pytest.raises(StructureError, match=r"CLAP model.*one audio clip at a time.*structure import") as told:
            load_encoder(spec)
        assert "\n" not in str(told.value)
