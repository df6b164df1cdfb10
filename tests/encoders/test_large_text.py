"""What lets a large text model fit: each layer is pooled as it appears, and hidden states do not pile up."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import torch

from structure.pipeline.encoders import load_encoder
from structure.pipeline.encoders.encoder import Hidden

DEPTH = 12


def deep(folder: Path, tokenizer: Path) -> str:
    """A tiny Llama of many layers, with the tokenizer of another tiny model."""
    import shutil

    import transformers

    config = transformers.LlamaConfig(
        hidden_size=16, num_hidden_layers=DEPTH, num_attention_heads=2, intermediate_size=24, vocab_size=20
    )
    torch.manual_seed(0)
    transformers.LlamaModel(config).eval().save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        if (tokenizer / name).is_file():
            shutil.copy(tokenizer / name, folder / name)
    return f"hf:{folder}"


def test_hidden_states_of_earlier_layers_are_gone_when_a_layer_is_read(
    tiny: Any, texts: list[str], tmp_path: Path
) -> None:
    encoder = load_encoder(deep(tmp_path / "deep", tiny("llama")))
    assert len(encoder.layers) == DEPTH + 2
    alive: list[int] = []
    seen: list[weakref.ref[torch.Tensor]] = []

    def visit(name: str, hidden: Hidden) -> None:
        alive.append(sum(reference() is not None for reference in seen))
        seen.append(weakref.ref(hidden.values))

    examples = [encoder.preprocess(text) for text in texts]
    with torch.inference_mode():
        encoder.forward(examples, visit, wanted=frozenset(layer.name for layer in encoder.layers))
    assert len(alive) == DEPTH + 2
    assert max(alive) <= 3  # a block's input, its output, and that after the final norm, however deep the model


def test_the_same_rows_in_sixteen_bits_whatever_shares_the_batch(tiny: Any, texts: list[str], tmp_path: Path) -> None:
    encoder = load_encoder(deep(tmp_path / "deep", tiny("llama")), amp="bf16")
    examples = [encoder.preprocess(text) for text in texts]
    together = encoder.encode(examples, pooling=["last", "mean"])
    for row, example in enumerate(examples):
        alone = encoder.encode([example], pooling=["last", "mean"])
        for name, values in alone.items():
            torch.testing.assert_close(together[name][row], values[0], rtol=0.05, atol=0.05, msg=name)
