"""Large models: spread over memory and disk they give the same rows; what cannot be held is told before it is tried."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from structure.pipeline.encoders import device_placement as placement
from structure.pipeline.encoders import load_encoder, parse_spec
from structure.store.errors import StructureError, UsageError


@pytest.mark.parametrize("spread", ["disk", "auto"])
def test_a_spread_model_gives_the_same_rows_and_the_same_identity(spread: str, tiny: Any, texts: list[str]) -> None:
    whole, parts = load_encoder(f"hf:{tiny('llama')}"), load_encoder(f"hf:{tiny('llama')}?device_map={spread}")
    held: Any = parts
    weights = list(held.module.parameters())
    assert all(weight.is_meta for weight in weights) == (spread == "disk")
    examples = [whole.preprocess(text) for text in texts]
    for name, values in whole.encode(examples, pooling=["mean", "last"]).items():
        torch.testing.assert_close(parts.encode(examples, pooling=["mean", "last"])[name], values, msg=name)
    for field in ("weights", "precision", "source", "tokenizer"):
        assert parts.provenance[field] == whole.provenance[field]
    assert parts.name == whole.name


def test_a_spec_keeps_its_placement() -> None:
    parsed = parse_spec("llama3-8b?bits=4&device_map=auto")
    assert (parsed.placement.bits, parsed.placement.device_map, parsed.name) == (4, "auto", "llama3-8b-4bit")
    assert parse_spec(str(parsed)).placement == parsed.placement
    assert parse_spec("llama3-8b?device_map=auto").name == "llama3-8b"


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bits=3", "bits is '3'; weights .* quantized to 8 or 4"),
        ("device_map=gpu", "device_map is 'gpu'; it is one of auto, balanced"),
        ("bit=4", "Did you mean bits"),
    ],
)
def test_a_wrong_placement_is_told(asked: str, part: str) -> None:
    with pytest.raises(UsageError, match=part):
        parse_spec(f"llama3-8b?{asked}")


def test_fewer_bits_need_a_gpu_and_their_package(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StructureError, match=r"bits=4 needs a CUDA GPU .* computes on cpu.*device_map=auto"):
        load_encoder(f"hf:{tiny('llama')}?bits=4")
    monkeypatch.setattr(placement, "find_spec", lambda name: None)
    with pytest.raises(StructureError, match=r"bits=8 needs the package accelerate and bitsandbytes: .*\[quantized\]"):
        placement.Placement(8).arguments(torch.device("cuda"), torch.bfloat16)
    with pytest.raises(StructureError, match=r"device_map=auto needs the package accelerate: .*\[large\]"):
        load_encoder(f"hf:{tiny('llama')}?device_map=auto")
    with pytest.raises(UsageError, match="bits means nothing here: timm models take only .image_size and .crop_pct"):
        load_encoder("timm:vit_tiny_patch16_224?bits=8")


def test_rounded_weights_are_asked_of_the_library_and_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "find_spec", lambda name: True)
    asked = placement.Placement(4).arguments(torch.device("cuda:0"), torch.bfloat16)
    assert asked["device_map"] == {"": "cuda:0"}
    config = asked["quantization_config"]
    assert (config.load_in_4bit, config.bnb_4bit_quant_type, config.bnb_4bit_compute_dtype) == (
        True,
        "nf4",
        torch.bfloat16,
    )
    assert placement.Placement(8, "auto").arguments(torch.device("cuda:0"), torch.bfloat16)["device_map"] == "auto"


def test_a_model_larger_than_the_memory_is_refused_before_it_is_read(
    tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "free_memory", lambda device: 1000)
    with pytest.raises(StructureError, match=r"does not fit the memory of cpu: its weights take .* and 1,000 are free"):
        load_encoder(f"hf:{tiny('llama')}")
    assert load_encoder(f"hf:{tiny('llama')}?device_map=disk").layers


def test_memory_that_runs_out_while_a_model_is_read_is_told(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("Tried to allocate 3 GiB")

    monkeypatch.setattr(transformers.AutoModel, "from_pretrained", full)
    with pytest.raises(StructureError, match=r"does not fit .*3 GiB.*device_map=auto.*bits=8"):
        load_encoder(f"hf:{tiny('llama')}")
