"""Decoder language models as text encoders: the last real token, however a tokenizer pads and closes its texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from structure.pipeline.encoders import load_encoder
from structure.pipeline.encoders.encoder import Encoder
from tests.encoders.conftest import TEXT, save, tokenizer

WINDOW = 4
"""Tokens that a layer with a sliding window attends to: fewer than the longest text has."""

GROUPED = TEXT | {"num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 64}
MODELS: dict[str, dict[str, Any]] = {
    "Llama": {},
    "Qwen3": {},
    "Mistral": {"sliding_window": WINDOW},
    "Gemma": {},
    "Gemma2": {"sliding_window": WINDOW, "query_pre_attn_scalar": 8},
    "Gemma3Text": {"sliding_window": WINDOW, "query_pre_attn_scalar": 8},
}
TOKENIZERS: dict[str, dict[str, Any]] = {
    "left": {"side": "left"},
    "right": {"side": "right"},
    "left, no pad token": {"side": "left", "pad": False},
    "left, no closing token": {"side": "left", "special": False},
    "right, no pad and no closing token": {"side": "right", "pad": False, "special": False},
}
EOS = 2


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Encoder, Any, Any]]:
    """(the encoder, the library's model, its tokenizer) of a tiny decoder with that tokenizer."""
    import transformers

    root, weights = tmp_path_factory.mktemp("decoders"), {}

    def load(name: str, **tokens: Any) -> tuple[Encoder, Any, Any]:
        if name not in weights:
            config = getattr(transformers, f"{name}Config")(
                **GROUPED, **MODELS[name], pad_token_id=1, bos_token_id=0, eos_token_id=EOS
            )
            torch.manual_seed(0)
            weights[name] = getattr(transformers, f"{name.removesuffix('Text')}{'Text' * name.endswith('Text')}Model")(
                config
            )
        folder = root / f"{name}-{'-'.join(map(str, tokens.values()))}"
        save(weights[name], folder)
        tokenizer(folder, **tokens)
        reader = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return load_encoder(f"hf:{folder}"), weights[name], reader

    return load


@torch.no_grad()
def alone(model: Any, reader: Any, text: str) -> torch.Tensor:
    """(layer, width): what the library itself has at the last token of an unpadded text."""
    ids = torch.tensor([reader(text)["input_ids"]])
    return torch.stack([state[0, -1] for state in model(ids, output_hidden_states=True).hidden_states])


@pytest.mark.parametrize("tokens", TOKENIZERS)
@pytest.mark.parametrize("name", MODELS)
def test_the_last_token_is_that_of_each_text_alone(
    decoder: Callable[..., tuple[Encoder, Any, Any]], texts: list[str], name: str, tokens: str
) -> None:
    encoder, model, reader = decoder(name, **TOKENIZERS[tokens])
    assert len({len(reader(text)["input_ids"]) for text in texts}) == len(texts)
    layers = [layer.name for layer in encoder.layers if layer.name != "block.02"]  # the library has it after the norm
    found = encoder.encode([encoder.preprocess(text) for text in texts], pooling=["last"])
    together = torch.stack([found[layer] for layer in layers], dim=1)
    expected = torch.stack([alone(model, reader, text) for text in texts])
    torch.testing.assert_close(together, expected, rtol=1e-4, atol=1e-5)
    for row, text in enumerate(texts):
        single = encoder.encode([encoder.preprocess(text)], pooling=["last"])
        for layer, values in single.items():
            torch.testing.assert_close(found[layer][row], values[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_batch_that_the_tokenizer_pads_has_the_same_last_tokens(
    decoder: Callable[..., tuple[Encoder, Any, Any]], texts: list[str], side: str
) -> None:
    """As sentence-transformers does it: the tokenizer pads on its side, the last position with a mask of 1 is taken."""
    encoder, model, reader = decoder("Qwen3", side=side)
    padded = reader(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model(padded["input_ids"], attention_mask=padded["attention_mask"]).last_hidden_state
    positions = torch.arange(padded["input_ids"].shape[1])
    last = (padded["attention_mask"] * positions).argmax(dim=1)
    found = encoder.encode([encoder.preprocess(text) for text in texts], pooling=["last"], layers=["final_norm"])
    torch.testing.assert_close(found["final_norm"], states[torch.arange(len(texts)), last], rtol=1e-4, atol=1e-5)


def test_the_closing_token_is_the_last_one_and_stays_when_a_text_is_cut(
    decoder: Callable[..., tuple[Encoder, Any, Any]], texts: list[str]
) -> None:
    """Padding may be with the closing token itself: what is real is known from the lengths, not from the ids."""
    encoder, _, reader = decoder("Llama", side="left", pad=False, longest=7)
    ids = [encoder.preprocess(text) for text in texts]
    assert [row[-1] for row in ids] == [EOS] * len(texts)
    assert max(len(row) for row in ids) == 7
    assert max(row.cut for row in ids) > 0
    batch = encoder.collate(ids)
    assert encoder.pad_id == EOS
    assert batch.mask.sum(dim=1).tolist() == [len(row) for row in ids]
    assert reader("cat")["input_ids"][-1] == EOS
    open_ended, *_ = decoder("Llama", side="left", special=False)
    assert open_ended.preprocess("a cat")[-1] != EOS


def test_an_empty_text_is_one_token(decoder: Callable[..., tuple[Encoder, Any, Any]]) -> None:
    encoder, model, _ = decoder("Mistral", side="left", pad=False, special=False)
    empty, word = encoder.preprocess(""), encoder.preprocess("a cat on the mat")
    assert list(empty) == [0]
    found = encoder.encode([word, empty], pooling=["last"], layers=["final_norm"])["final_norm"]
    with torch.no_grad():
        state = model(torch.tensor([[0]])).last_hidden_state[0, -1]
    torch.testing.assert_close(found[1], state, rtol=1e-4, atol=1e-5)
