"""Networks whose blocks are not each called once, batch first, on tokens and patches alone: equal to the library's own
hidden states, alone and in a batch, or refused in words."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from structure.pipeline.encoders import describe, load_encoder
from structure.pipeline.encoders.encoder import Encoder, Hidden
from structure.pipeline.encoders.pooling import pool
from structure.store.errors import StructureError
from tests.encoders.conftest import TEXT, VIT, processor, save, tokenizer


def _model(name: str, **options: Any) -> Any:
    import transformers

    torch.manual_seed(0)
    model = getattr(transformers, f"{name}Model")
    return model(model.config_class(**options)).eval()


def _text_folder(folder: Path, name: str, *, segments: bool = False, **options: Any) -> Any:
    module = _model(name, **(TEXT | {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2} | options))
    save(module, folder)
    tokenizer(folder)
    if segments:  # as XLNet's own: the last token is a segment of its own
        path = folder / "tokenizer.json"
        stated = json.loads(path.read_text())
        stated["post_processor"]["single"][-1]["SpecialToken"]["type_id"] = 2
        path.write_text(json.dumps(stated))
        path = folder / "tokenizer_config.json"
        names = {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}
        path.write_text(json.dumps(json.loads(path.read_text()) | names))
    return module


def _image_folder(folder: Path, name: str, side: int = 32, **options: Any) -> Any:
    module = _model(name, **(VIT | options))
    save(module, folder)
    processor(folder, side)
    return module


def _read(encoder: Encoder, examples: Sequence[Any]) -> dict[str, Hidden]:
    seen: dict[str, Hidden] = {}
    encoder.forward(examples, seen.__setitem__, wanted=frozenset(layer.name for layer in encoder.layers))
    return seen


def _means(read: dict[str, Hidden]) -> dict[str, torch.Tensor]:
    return {
        name: hidden.values if hidden.values.ndim == 2 else pool(hidden.values, "mean", mask=hidden.mask)
        for name, hidden in read.items()
    }


def _check_texts(folder: Path, texts: list[str], *, depth: int) -> Encoder:
    """Each block is the library's hidden state for the text alone, and the same in a batch."""
    import transformers

    encoder = load_encoder(f"hf:{folder}")
    assert [layer.name for layer in encoder.layers][: depth + 1] == ["embed", *(f"block.{i:02d}" for i in range(depth))]
    assert describe(f"hf:{folder}").layers == encoder.layers
    together = _means(_read(encoder, [encoder.preprocess(text) for text in texts]))
    module, tokens = transformers.AutoModel.from_pretrained(folder).eval(), encoder.preprocess.tokenizer
    module = module.get_encoder() if module.config.is_encoder_decoder else module
    for row, text in enumerate(texts):
        given = dict(tokens(text, return_tensors="pt"))
        with torch.inference_mode():
            states = module(**given, output_hidden_states=True).hidden_states
        alone = _means(_read(encoder, [encoder.preprocess(text)]))
        for layer, values in together.items():
            torch.testing.assert_close(values[row], alone[layer][0], rtol=1e-4, atol=2e-5, msg=layer)
        for block in range(depth - 1):
            torch.testing.assert_close(together[f"block.{block:02d}"][row], states[block + 1][0].mean(dim=0))
    return encoder


TEXT_CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "one module called twelve times": ("Albert", {"num_hidden_layers": 12, "embedding_size": 8}),
    "two modules called in turn": ("Albert", {"num_hidden_layers": 6, "num_hidden_groups": 2, "embedding_size": 8}),
    "mixes tokens without a mask": ("FNet", {}),
    "convolves over padding": ("ConvBert", {"embedding_size": 16}),
    "pads to its window": ("Longformer", {"attention_window": [8, 8, 8], "max_position_embeddings": 42}),
    "returns a list": ("OpenAIGPT", {"n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 40}),
    "named after a norm": ("RobertaPreLayerNorm", {"max_position_embeddings": 42}),
}


@pytest.mark.parametrize("case", TEXT_CASES)
def test_texts_equal_the_library_alone_and_in_a_batch(case, tmp_path, texts):
    name, options = TEXT_CASES[case]
    _text_folder(tmp_path / "model", name, **options)
    _check_texts(tmp_path / "model", texts, depth=options.get("num_hidden_layers", 3))


def test_tokens_first_and_segments_equal_the_library(tmp_path, texts):
    """XLNet passes (token, batch, width) on, and its tokenizer puts the last token in a segment of its own."""
    size = {"d_model": 16, "n_layer": 3, "n_head": 2, "d_inner": 24, "vocab_size": 20}
    _text_folder(tmp_path / "model", "XLNet", segments=True, **size)
    encoder = _check_texts(tmp_path / "model", texts, depth=3)
    assert encoder.preprocess(texts[0]).types == (0, 0, 0, 2)
    assert encoder.provenance["preprocessing"]["segments"] is True


def test_rows_that_padding_would_move_are_read_without_it(tmp_path, texts):
    _text_folder(tmp_path / "fnet", "FNet")
    encoder = load_encoder(f"hf:{tmp_path / 'fnet'}")
    assert encoder.provenance["preprocessing"]["padding"] == "none"
    rows = [encoder.preprocess(text) for text in texts]
    read = _read(encoder, rows)["block.02"]
    assert read.mask.sum(dim=1).tolist() == [len(row) for row in rows]
    tokens = encoder.encode_tokens(rows, {"block.02": torch.float32}, layers=["block.02"])[1]["block.02"]
    assert tokens.lengths == [len(row) for row in rows]


@pytest.mark.parametrize(
    ("name", "options", "prefix", "grid", "pooling"),
    [
        ("Yolos", {"num_detection_tokens": 7, "image_size": [32, 32]}, 0, None, "cls"),
        ("Dinov2WithRegisters", {"mlp_ratio": 2, "num_register_tokens": 3}, 4, (4, 4), "cls"),
        ("IJepa", {}, 0, (4, 4), "mean"),
        ("Pixtral", {"head_dim": 8}, 0, (4, 4), "mean"),
    ],
)
def test_only_cls_and_register_tokens_are_a_prefix(name, options, prefix, grid, pooling, tmp_path, images):
    _image_folder(tmp_path / "model", f"{name}Vision" if name == "Pixtral" else name, **options)
    encoder = load_encoder(f"hf:{tmp_path / 'model'}")
    assert (encoder.prefix, encoder.grid, encoder.default_pooling) == (prefix, grid, pooling)
    pixels = [encoder.preprocess(image) for image in images]
    together = encoder.encode(pixels, pooling=["mean"])
    for row, one in enumerate(pixels):
        alone = _read(encoder, [one])
        torch.testing.assert_close(together["block.01"][row], alone["block.01"].values[0, prefix:].mean(dim=0))


def test_maps_with_channels_last_are_read_as_maps(tmp_path, images):
    module = _image_folder(tmp_path / "sam", "SamVision", global_attn_indexes=[1], output_channels=8, window_size=2)
    encoder = load_encoder(f"hf:{tmp_path / 'sam'}")
    assert {layer.width for layer in encoder.layers} == {16}
    pixels = encoder.preprocess(images[0])
    with torch.inference_mode():
        states = module(pixel_values=pixels[None], output_hidden_states=True).hidden_states
    out = encoder.encode([pixels])
    torch.testing.assert_close(out["block.01"][0], states[2][0].mean(dim=(0, 1)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("Siglip2Vision", {"num_patches": 16}, r"run on pixel_values \(1, 3, 32, 32\): TypeError: .*spatial_shapes"),
        (
            "PvtV2",
            {"hidden_sizes": [8, 16, 16, 32], "depths": [1] * 4, "num_attention_heads": [1, 2, 2, 4]},
            "hidden state 1 of the library's 4 is none of the 4 blocks found",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(name, options, words, tmp_path):
    options = {
        key: value for key, value in (VIT | options).items() if name != "PvtV2" or key not in VIT or key in options
    }
    import transformers

    model = getattr(transformers, f"{name}Model")
    save(model(model.config_class(**options)), tmp_path / "model")
    processor(tmp_path / "model", 32)
    with pytest.raises(StructureError, match=words) as told:
        load_encoder(f"hf:{tmp_path / 'model'}")
    assert "structure import" in str(told.value)
    assert "\n" not in str(told.value)


def test_a_config_that_counts_other_blocks_than_are_called_is_refused(tiny: Callable[[str], Path], monkeypatch):
    """Without hidden states from the library, the config's number is all that confirms the blocks."""
    from structure.pipeline.encoders import transformers_encoder

    monkeypatch.setattr(transformers_encoder, "confirm_hidden_states", lambda *_, **__: False)
    monkeypatch.setattr(transformers_encoder, "_depth", lambda _: 4)
    with pytest.raises(StructureError, match="3 are called in one pass, its config says 4"):
        load_encoder(f"hf:{tiny('bert')}")


def test_random_features_are_refused(tiny, monkeypatch):
    from transformers.models.bert.modeling_bert import BertLayer

    forward = BertLayer.forward

    def noisy(self: Any, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        out = forward(self, hidden_states, *args, **kwargs)
        if isinstance(out, tuple):
            return (out[0] + torch.rand_like(out[0]), *out[1:])
        return out + torch.rand_like(out)

    monkeypatch.setattr(BertLayer, "forward", noisy)
    with pytest.raises(StructureError, match="other features each time"):
        load_encoder(f"hf:{tiny('bert')}")
