"""Features do not depend on the arithmetic that the program around has chosen, and it finds its choice unchanged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from structure.pipeline.encoders import load_encoder
from structure.pipeline.encoders.arithmetic import _matmul_precision, default_arithmetic


def _state() -> list[Any]:
    backends = torch.backends
    parts = (backends.cuda.matmul, backends.mkldnn.matmul, backends.mkldnn.conv, backends.cudnn.conv)
    flags = (backends.cuda.matmul.allow_bf16_reduced_precision_reduction, backends.cuda.matmul.allow_fp16_accumulation)
    return [_matmul_precision(), *(part.fp32_precision for part in parts), *flags]


def _named(state: list[Any]) -> list[Any]:
    """Not set and full float32 are the same."""
    return ["ieee" if value == "none" else value for value in state]


@pytest.fixture
def _restored() -> Iterator[None]:
    yield
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    torch.set_float32_matmul_precision("highest")
    torch.backends.mkldnn.conv.fp32_precision = "none"
    torch.backends.cudnn.conv.fp32_precision = "tf32"
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = True


CHOICES: dict[str, Callable[[], object]] = {
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "high": lambda: torch.set_float32_matmul_precision("high"),
    "one backend by its name": lambda: setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32"),
    "tf32 off": lambda: setattr(torch.backends.cudnn, "allow_tf32", False),
    "bf16 convolutions": lambda: setattr(torch.backends.mkldnn.conv, "fp32_precision", "bf16"),
    "16-bit sums": lambda: setattr(torch.backends.cuda.matmul, "allow_bf16_reduced_precision_reduction", False),
}


@pytest.mark.usefixtures("_restored")
@pytest.mark.parametrize("choice", CHOICES)
def test_arithmetic_is_torchs_default_within_and_as_it_was_after(choice):
    default = _state()
    CHOICES[choice]()
    chosen = _state()
    assert chosen != default
    with default_arithmetic():
        assert _named(_state()) == _named(default)
    assert _state() == chosen


@pytest.mark.usefixtures("_restored")
def test_features_are_the_same_bytes_whatever_the_program_chose(tiny, texts):
    encoder = load_encoder(f"hf:{tiny('bert')}")
    rows = [encoder.preprocess(text) for text in texts]
    expected = encoder.encode(rows)
    seen: list[Any] = []
    torch.set_float32_matmul_precision("medium")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = encoder.encode(rows)
        encoder.forward(rows, lambda *_: seen.append(_state()), wanted=frozenset(["block.01"]))
        again = load_encoder(f"hf:{tiny('bert')}").encode(rows)
    assert seen[0][0] == "highest"
    for layer, values in expected.items():
        assert torch.equal(out[layer], values)
        assert torch.equal(again[layer], values)
