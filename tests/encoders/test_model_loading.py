"""Loading: nothing random, nothing remote, nothing silent."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from structure.pipeline import hub_access as network
from structure.pipeline.encoders import load_encoder
from structure.pipeline.encoders.digest import weights_digest
from structure.pipeline.extraction.plan_feature_set import identity_of
from structure.pipeline.extraction.stored_or_extracted import EncoderRecord, require_encoder
from structure.store.errors import DamageError, NotPresentError, StructureError, UsageError


def _copy(source: Path, target: Path, *, without: str = "") -> Path:
    shutil.copytree(source, target)
    if without:
        (target / without).unlink()
    return target


def _weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache and a hub whose address nobody answers at."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "cache"


@pytest.mark.parametrize(
    ("spec", "repo"),
    [
        ("dinov2", "facebook/dinov2-large"),
        ("hf:nobody/nothing", "nobody/nothing"),
        ("timm:resnet18.a1_in1k", "timm/resnet18.a1_in1k"),
        ("open_clip:ViT-B-32/laion2b_s34b_b79k#visual", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"),
    ],
)
def test_a_model_that_is_not_here_is_answered_in_ten_seconds(spec, repo, no_hub):
    import open_clip  # noqa: F401  here: what importing takes is not the answer's
    import timm  # noqa: F401

    started = time.monotonic()
    with pytest.raises(NotPresentError) as caught:
        load_encoder(spec)
    assert time.monotonic() - started < 10
    said = str(caught.value)
    assert repo in said
    assert str(no_hub / f"models--{repo.replace('/', '--')}") in said
    assert f"hf download {repo}" in said
    assert "does not answer" in said


def test_a_hub_that_never_answers_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(network, "ANSWER_SECONDS", 0.1)

    class Silent:
        def head(self, *_: Any, **__: Any) -> None:
            time.sleep(5)

    monkeypatch.setattr("huggingface_hub.get_session", lambda: Silent())
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    started = time.monotonic()
    assert "did not answer" in network.hub_obstacle()
    assert time.monotonic() - started < 3


def test_offline_mode_asks_nobody(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in network.hub_obstacle()


def test_a_snapshot_in_the_cache_needs_no_network(tiny, no_hub):
    commit = "0123456789abcdef0123456789abcdef01234567"
    place = no_hub / "models--me--tiny"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    shutil.copytree(tiny("bert"), place / "snapshots" / commit)
    encoder = load_encoder("hf:me/tiny")
    assert encoder.name == "me--tiny"
    assert encoder.provenance["revision"] == commit
    assert encoder.provenance["weights"] == load_encoder(f"hf:{tiny('bert')}").provenance["weights"]
    (place / "snapshots" / commit / "model.safetensors").unlink()
    with pytest.raises(NotPresentError, match="me/tiny"):
        load_encoder("hf:me/tiny")


def test_an_encoder_on_record_is_loaded_at_its_commit(tiny, no_hub):
    """Also when the branch that was not named has moved on."""
    place, commits = no_hub / "models--me--tiny", ("a" * 40, "b" * 40)
    (place / "refs").mkdir(parents=True)
    for commit in commits:
        shutil.copytree(tiny("bert"), place / "snapshots" / commit)
        (place / "refs" / "main").write_text(commit)
    then = load_encoder("hf:me/tiny", revision=commits[0])
    record = EncoderRecord(then.name, "hf:me/tiny", then.modality, identity_of(then), extraction={})
    assert load_encoder("hf:me/tiny").provenance["revision"] == commits[1]
    require_encoder(record.load(device="cpu"), record)


@pytest.mark.parametrize(
    ("model", "file", "part"),
    [
        ("vit", "config.json", "no config.json"),
        ("vit", "model.safetensors", "model.safetensors"),
        ("vit", "preprocessor_config.json", "preprocessor_config.json"),
        ("bert", "tokenizer.json", "tokenizer.json"),
    ],
)
def test_a_missing_file_is_named(model, file, part, tiny, tmp_path):
    folder = _copy(tiny(model), tmp_path / "model", without=file)
    with pytest.raises(NotPresentError, match=part):
        load_encoder(f"hf:{folder}")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(NotPresentError, match="not a folder"):
        load_encoder(f"hf:{tmp_path}/nowhere")
    with pytest.raises(NotPresentError, match="does not exist"):
        load_encoder(f"timm:resnet18@{tmp_path}/nowhere")
    with pytest.raises(NotPresentError, match=r"open_clip_config\.json"):
        load_encoder(f"open_clip:local-dir:{tmp_path}#visual")


def test_an_untrained_pooler_is_dropped_and_said(tiny, tmp_path):
    folder = _copy(tiny("bert"), tmp_path / "model")
    _weights(folder, lambda state: [state.pop(key) for key in list(state) if key.startswith("pooler.")])
    encoder = load_encoder(f"hf:{folder}")
    assert "pooled" not in [layer.name for layer in encoder.layers]
    assert "pooler" in encoder.provenance["dropped"][0]
    whole = load_encoder(f"hf:{tiny('bert')}")
    example = [whole.preprocess("a cat")]
    assert torch.equal(encoder.encode(example)["block.02"], whole.encode(example)["block.02"])


def test_any_other_missing_weight_refuses_the_model(tiny, tmp_path):
    folder = _copy(tiny("vit"), tmp_path / "model")
    _weights(folder, lambda state: state.pop("layernorm.weight"))
    with pytest.raises(StructureError, match=r"lacks 1 .* random"):
        load_encoder(f"hf:{folder}")
    folder = _copy(tiny("open_clip"), tmp_path / "open", without="open_clip_model.safetensors")
    with pytest.raises(NotPresentError, match="random"):
        load_encoder(f"open_clip:local-dir:{folder}#visual")


@pytest.mark.parametrize("cut", [0, 100, -10])
def test_damaged_weights_are_damage(cut, tiny, tmp_path):
    folder = _copy(tiny("bert"), tmp_path / "model")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises((DamageError, NotPresentError), match="readable|read"):
        load_encoder(f"hf:{folder}")


def test_pickled_weights_run_no_code(tiny, tmp_path):
    import pickle

    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "sprung",))

    folder = _copy(tiny("bert"), tmp_path / "model", without="model.safetensors")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"a": Trap()}))
    with pytest.raises(StructureError, match="not unpickled"):
        load_encoder(f"hf:{folder}")
    (tmp_path / "weights.pth").write_bytes(pickle.dumps({"a": Trap()}))
    with pytest.raises(StructureError, match="not unpickled"):
        load_encoder(f"timm:resnet18@{tmp_path}/weights.pth")
    assert not (tmp_path / "sprung").exists()


def test_remote_code_runs_only_when_trusted(tiny, tmp_path):
    folder = _copy(tiny("bert"), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(StructureError, match="--trust-remote-code"):
        load_encoder(f"hf:{folder}")
    assert not (tmp_path / "ran").exists()


def test_two_towers_without_a_choice_show_both_spellings(tiny):
    for spec in (f"hf:{tiny('clip')}", f"open_clip:local-dir:{tiny('open_clip')}"):
        with pytest.raises(StructureError, match="two towers") as caught:
            load_encoder(spec)
        assert "#visual or" in str(caught.value)
        assert "#text." in str(caught.value)
    with pytest.raises(StructureError, match="single tower"):
        load_encoder(f"hf:{tiny('vit')}#visual")


def test_a_tower_digest_depends_on_its_own_tower_alone(tiny, tmp_path):
    folder = _copy(tiny("clip"), tmp_path / "clip")
    _weights(folder, lambda state: state["text_model.final_layer_norm.weight"].add_(1))
    for tower, same in (("visual", True), ("text", False)):
        before = load_encoder(f"hf:{tiny('clip')}#{tower}").provenance["weights"]
        assert (before == load_encoder(f"hf:{folder}#{tower}").provenance["weights"]) is same


def test_the_weights_digest_sees_every_bit_and_no_layout():
    module = torch.nn.Conv2d(3, 4, 2)
    first = weights_digest(module)
    assert weights_digest(module.to(memory_format=torch.channels_last)) == first
    with torch.no_grad():
        module.bias[3] = torch.nextafter(module.bias[3], torch.tensor(9.0))
    assert weights_digest(module) != first
    assert weights_digest(torch.nn.Conv2d(3, 4, 2).half()) != first


def test_a_tokenizer_of_another_model_is_found_out(tiny, tmp_path):
    folder = _copy(tiny("bert"), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 5}))
    _weights(
        folder,
        lambda state: state.update(
            {"embeddings.word_embeddings.weight": state["embeddings.word_embeddings.weight"][:5].clone()}
        ),
    )
    with pytest.raises(StructureError, match="do not belong together"):
        load_encoder(f"hf:{folder}")


def test_devices_and_precisions_that_do_not_exist_are_named(tiny):
    spec = f"hf:{tiny('bert')}"
    with pytest.raises(UsageError, match="--amp"):
        load_encoder(spec, amp="fp8")
    with pytest.raises(UsageError, match="--device"):
        load_encoder(spec, device="gpu")
    with pytest.raises(StructureError, match="cuda:99"):
        load_encoder(spec, device="cuda:99")
    with pytest.raises(UsageError, match="--revision"):
        load_encoder(spec, revision="main")


def test_amp_is_resolved_and_stated(tiny):
    spec = f"hf:{tiny('vit')}"
    assert load_encoder(spec, amp="auto").provenance["precision"] == "float32"
    half = load_encoder(spec, amp="bf16")
    assert half.provenance["precision"] == "float32 weights, bfloat16 autocast"
    assert half.provenance["weights"] == load_encoder(spec).provenance["weights"]
    out = half.encode([torch.zeros(3, 32, 32)])
    assert {values.dtype for values in out.values()} == {torch.float32}


def test_auto_takes_bfloat16_where_the_processor_multiplies_in_it(tiny, monkeypatch):
    from structure.pipeline.encoders import precision

    cpu = torch.device("cpu")
    for able in (True, False):
        monkeypatch.setattr(precision, "multiplies_in_bfloat16", lambda able=able: able)
        assert str(precision.resolve("auto", cpu, parameters=10_000_000)) == (
            "float32 weights, bfloat16 autocast" if able else "float32"
        )
        assert str(precision.resolve("auto", cpu, parameters=precision.SMALL - 1)) == "float32"
    assert isinstance(precision.multiplies_in_bfloat16(), bool) or not able


def test_large_models_hold_their_weights_in_sixteen_bits(tiny, monkeypatch):
    monkeypatch.setattr("structure.pipeline.encoders.precision.LARGE", 1000)
    for name in ("llama", "vit"):
        encoder = load_encoder(f"hf:{tiny(name)}", amp="bf16")
        assert encoder.provenance["precision"] == "bfloat16"
        example = encoder.preprocess("a cat") if name == "llama" else torch.zeros(3, 32, 32)
        assert encoder.encode([example])["block.00"].dtype == torch.float32


def test_over_long_texts_are_cut_at_the_limit_and_counted(tiny):
    for name, limit in (("roberta", 40), ("bert", 40), ("clip#text", 24), ("open_clip#text", 20)):
        model, _, tower = name.partition("#")
        prefix = "open_clip:local-dir" if model == "open_clip" else "hf"
        encoder = load_encoder(f"{prefix}:{tiny(model)}" + (f"#{tower}" if tower else ""))
        assert encoder.limit == limit
        short, long = encoder.preprocess("a cat"), encoder.preprocess("a cat " * 30)
        assert (short.cut, len(long), long.cut) == (0, limit, 62 - limit)
        assert long[-1] == short[-1]  # the closing token stays
        assert all(values.isfinite().all() for values in encoder.encode([short, long]).values())


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "open_clip#text"])
def test_an_empty_text_is_encoded_as_special_tokens(name, tiny):
    model, _, tower = name.partition("#")
    spec = f"open_clip:local-dir:{tiny(model)}#text" if tower else f"hf:{tiny(model)}"
    encoder = load_encoder(spec)
    assert len(encoder.preprocess("")) >= 1
    assert all(values.isfinite().all() for values in encoder.encode([encoder.preprocess("")]).values())


def test_layers_and_poolings_that_do_not_exist_are_named(tiny):
    encoder = load_encoder(f"hf:{tiny('convnext')}")
    example = [torch.zeros(3, 32, 32)]
    with pytest.raises(StructureError, match=r"Did you mean block\.03"):
        encoder.encode(example, layers=["blok.03"])
    with pytest.raises(StructureError, match="--pool mean,max"):
        encoder.encode(example, pooling=["cls"])
    assert set(encoder.encode(example, pooling=["cls"], layers=["pooled"])) == {"pooled"}


def test_a_timm_folder_for_another_model_is_found_out(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"timm_name": "resnet34"}))
    with pytest.raises(StructureError, match="timm:resnet34@"):
        load_encoder(f"timm:resnet18@{tmp_path}")
