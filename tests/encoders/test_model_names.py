"""Names, aliases and descriptions: what can be typed, and what is answered to what cannot."""

from __future__ import annotations

import subprocess
import sys

import pytest

from structure.pipeline.encoders import catalogue, describe, parse_spec
from structure.pipeline.encoders.catalogue import aliases
from structure.pipeline.encoders.spec import safe
from structure.pipeline.yaml_file import parse_yaml
from structure.store.errors import StructureError, UsageError

CONTRACT = "dinov2 dinov2-small dinov2-base dinov2-large dinov2-giant dinov3-base clip-vit-base-patch32 siglip convnext"
CONTRACT += " mobilenetv2 roberta minilm mpnet bge-small bge-base llama3-8b"


@pytest.mark.parametrize(
    ("spec", "name", "source"),
    [
        ("dinov2", "dinov2", "hf:facebook/dinov2-large"),
        ("hf:facebook/dinov2-large", "facebook--dinov2-large", "hf:facebook/dinov2-large"),
        ("timm:vit_large_patch14_dinov2.lvd142m", "vit_large_patch14_dinov2.lvd142m", None),
        ("timm:mobilenetv2_100@/a/b", "mobilenetv2_100", "timm:mobilenetv2_100@b"),
        ("open_clip:ViT-B-32/laion2b_s34b_b79k#visual", "ViT-B-32--laion2b_s34b_b79k--visual", None),
        ("open_clip:local-dir:/models/mine#text", "mine--text", "open_clip:local-dir:mine#text"),
        ("hf:/models/mine", "mine", "hf:mine"),
        ("clip-vit-base-patch32", "clip-vit-base-patch32", "hf:openai/clip-vit-base-patch32#visual"),
        ("clip-vit-base-patch32#visual", "clip-vit-base-patch32", "hf:openai/clip-vit-base-patch32#visual"),
        ("clip-vit-base-patch32#text", "clip-vit-base-patch32--text", "hf:openai/clip-vit-base-patch32#text"),
        ("bundled:scenes-vit", "scenes-vit", "bundled:scenes-vit"),
    ],
)
def test_a_spec_has_a_folder_safe_name_and_a_source(spec, name, source):
    parsed = parse_spec(spec)
    assert parsed.name == name == safe(name)
    assert parsed.source == (source or spec)


def test_a_relative_folder_is_named_after_itself_wherever_one_stands(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    assert parse_spec("hf:mine").source == "hf:mine"
    assert parse_spec("hf:./mine").name == parse_spec(f"hf:{tmp_path}/mine").name == "mine"
    assert parse_spec("hf:./mine").source == "hf:mine"


@pytest.mark.parametrize(
    ("spec", "part"),
    [
        ("dinov22", "Did you mean dinov2"),
        ("Roberta", "Did you mean roberta"),
        ("zzzzzzzz", "structure models"),
        ("timm:resnet-18", "Did you mean resnet18"),
        ("timm:vit_base_patch16_224.nope", "Did you mean vit_base_patch16_224"),
        ("open_clip:ViT-B-33/openai#visual", "Did you mean ViT-B-32"),
        ("open_clip:ViT-B-32/laion2b#visual", "Did you mean laion2b_"),
        ("open_clip:ViT-B-32/openai", "ViT-B-32/openai#visual or open_clip:ViT-B-32/openai#text"),
        ("bundled:scenes", "bundled model 'scenes'"),
        ("hf:a b", "neither a folder nor a hub repository"),
    ],
)
def test_an_unknown_model_is_answered_with_what_is_near(spec, part):
    with pytest.raises(StructureError) as caught:
        describe(spec)
    assert part in str(caught.value)


@pytest.mark.parametrize(
    "spec", ["hf:", "torchhub:x", "clip-vit-base-patch32#audio", "timm:resnet18#text", "open_clip:ViT-B-32"]
)
def test_a_form_that_does_not_exist_is_a_usage_error(spec):
    with pytest.raises(UsageError, match="Write"):
        parse_spec(spec)


def test_the_catalogue_has_every_alias_of_the_contract_and_every_spec_parses():
    table = catalogue()
    assert set(CONTRACT.split()) <= set(table)
    assert table["dinov2"].spec == table["dinov2-large"].spec
    assert "all-roberta-large-v1" in table["roberta"].spec
    for name, alias in table.items():
        parsed = parse_spec(name)
        assert parsed.name == name
        assert (parsed.tower == "text") <= (alias.modality == "text")
        assert len({layer.name for layer in alias.layers}) == len(alias.layers) >= 5
        assert alias.parameters > 1_000_000
        assert alias.weights.startswith("huggingface.co/")
        assert (alias.modality == "text") <= (alias.pooling in ("mean", "cls"))  # BGE: cls


QWEN = {"hidden_size": 2048, "num_hidden_layers": 36, "num_attention_heads": 16, "num_key_value_heads": 2}
QWEN |= {"intermediate_size": 11008, "vocab_size": 151936}


@pytest.mark.parametrize("name", ["dinov2-large-518", "vit-tiny", "convnextv2-base", "resnet50", "efficientnet-b0"])
def test_facts_of_timm_aliases_are_those_of_the_architecture(name):
    alias = catalogue()[name]
    built = describe(alias.spec)
    assert built.layers == alias.layers
    assert built.default_pooling == alias.pooling
    assert (built.parameters, built.input) == (alias.parameters, alias.input)


@pytest.mark.parametrize(
    ("name", "config", "options"),
    [
        ("dinov2-base", "Dinov2", {"patch_size": 14, "image_size": 518}),
        ("minilm", "Bert", {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536}),
        ("gpt2", "GPT2", {}),
        ("convnext-tiny", "ConvNext", {}),
        ("mobilenetv2", "MobileNetV2", {}),
        ("wav2vec2-base", "Wav2Vec2", {}),
        ("ast", "AST", {}),
        ("qwen2.5-3b", "Qwen2", QWEN),
    ],
)
def test_facts_of_transformers_aliases_are_those_of_the_architecture(name, config, options, tmp_path):
    import transformers

    getattr(transformers, f"{config}Config")(**options).save_pretrained(tmp_path)
    built, alias = describe(f"hf:{tmp_path}"), catalogue()[name]
    assert built.layers == alias.layers
    assert built.default_pooling == alias.pooling
    assert built.parameters == alias.parameters
    assert not built.present


def test_an_alias_is_described_without_importing_any_library():
    code = (
        "import sys\n"
        "from structure.pipeline.encoders import describe, catalogue\n"
        "told = describe('dinov2')\n"
        "assert [layer.name for layer in told.layers][:2] == ['embed', 'block.00']\n"
        "assert told.layers[-1].name == 'pooled'\n"
        "assert len(told.layers) == 27 and {layer.width for layer in told.layers} == {1024}\n"
        "assert not {'torch', 'timm', 'transformers', 'open_clip'} & set(sys.modules), 'heavy import'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("entry", "told"), [
    ("spec: hf:a/b\n  modality: sound", r"m.yaml, line 3: .*modality of model.*'sound'"),
    ("spec: hf:a/b\n  modalty: text", "m.yaml, line 3: unknown key 'modalty'. Did you mean modality"),
    ("modality: text", "m.yaml, line 1: the model needs 'spec', text"),
    (
        "{spec: x, modality: text, parameters: 1, input: 2, weights: w, blocks: 3}",
        "the model mine needs 'blocks' and 'width', or 'widths'",
    ),
])  # fmt: skip
def test_a_mistake_in_the_table_of_aliases_names_its_line(entry: str, told: str) -> None:
    with pytest.raises(StructureError, match=told):
        aliases(parse_yaml(f"mine:\n  {entry}\n", name="m.yaml"))
