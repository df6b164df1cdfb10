"""What every adapter must do, on a tiny model of each architecture."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from structure.pipeline.encoders import describe, load_encoder
from structure.pipeline.encoders.encoder import Encoder, Hidden

TEXT = ["bert", "roberta", "xlm_roberta", "mpnet", "distilbert", "gpt2", "llama", "qwen2"]
TEXT += ["clip#text", "siglip#text", "open_clip#text"]
TOKENS = ["vit", "dinov2", "dinov2_with_registers", "dinov3_vit", "deit", "beit", "clip#visual", "siglip#visual"]
TOKENS += ["open_clip#visual", "timm:test_vit", "timm:vit_tiny_patch16_224", "timm:deit_tiny_distilled_patch16_224"]
MAPS = [
    "convnext",
    "dinov3_convnext",
    "convnextv2",
    "mobilenet_v2",
    "resnet",
    "timm:mobilenetv2_100",
    "timm:convnext_atto",
]
MAPS += ["timm:resnet18", "timm:test_efficientnet"]
SMALL = {
    "vit_tiny_patch16_224": {"img_size": 32, "depth": 3},
    "deit_tiny_distilled_patch16_224": {"img_size": 32, "depth": 3},
    "test_vit": {},
    "mobilenetv2_100": {"num_classes": 11, "pad_type": "same"},
    "convnext_atto": {"depths": [1, 1, 1, 1], "dims": [8, 16, 24, 32]},
    "resnet18": {},
    "test_efficientnet": {},
}


@pytest.fixture(scope="session")
def encoder(tiny: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Encoder]:
    """`encoder("clip#text")` -> that tiny encoder, loaded once."""
    root = tmp_path_factory.mktemp("timm")
    loaded: dict[str, Encoder] = {}

    def load(name: str) -> Encoder:
        if name not in loaded:
            loaded[name] = load_encoder(_spec(name, tiny, root))
        return loaded[name]

    return load


def _spec(name: str, tiny: Callable[[str], Path], root: Path) -> str:
    if name.startswith("timm:"):
        return f"{name}@{_timm_folder(name.removeprefix('timm:'), root)}"
    model, _, tower = name.partition("#")
    library = "open_clip:local-dir" if model == "open_clip" else "hf"
    return f"{library}:{tiny(model)}" + (f"#{tower}" if tower else "")


def _timm_folder(model: str, root: Path) -> Path:
    import timm
    from safetensors.torch import save_file

    folder = root / model
    if not folder.exists():
        folder.mkdir()
        torch.manual_seed(0)
        module = timm.create_model(model, pretrained=False, **SMALL[model])
        save_file(module.state_dict(), folder / "model.safetensors")
        side = 160 if model == "test_vit" else 32
        config = {"timm_name": model, "kwargs": SMALL[model], "input_size": side, "interpolation": "bicubic"}
        (folder / "config.json").write_text(json.dumps(config | {"mean": [0.5] * 3, "std": [0.5] * 3}))
    return folder


def _examples(encoder: Encoder, images: list[Image.Image], texts: list[str]) -> list[Any]:
    return [encoder.preprocess(item) for item in (images if encoder.modality == "vision" else texts)]


@pytest.mark.parametrize("name", [*TEXT, *TOKENS, *MAPS])
class TestEveryAdapter:
    def test_layers_have_names_in_order_and_stated_widths(self, name, encoder, images, texts):
        model = encoder(name)
        names = [layer.name for layer in model.layers]
        blocks = [item for item in names if item.startswith("block.")]
        tail = [item for item in names if item in ("final_norm", "pooled")]
        head = [] if name == "dinov3_convnext" else ["embed"]  # its first stage takes the image itself
        assert names == [*head, *(f"block.{index:02d}" for index in range(len(blocks))), *tail]
        assert len(blocks) >= 3
        kinds = model.poolings if name not in TEXT else ("cls", "mean", "last", "max")
        out = model.encode(_examples(model, images, texts), pooling=kinds)
        assert {column: values.shape[1] for column, values in out.items()} == model.columns(kinds, names)
        for values in out.values():
            assert values.dtype == torch.float32
            assert values.shape[0] == 4
            assert values.isfinite().all()

    def test_a_row_does_not_depend_on_its_batch(self, name, encoder, images, texts):
        model = encoder(name)
        examples = _examples(model, images, texts)
        kinds = model.poolings
        together = model.encode(examples, pooling=kinds)
        for index in (0, 2):  # among the shortest texts: the longest one has no padding to depend on
            alone = model.encode([examples[index]], pooling=kinds)
            for column, values in together.items():
                torch.testing.assert_close(values[index], alone[column][0], rtol=2e-4, atol=2e-5, msg=column)

    def test_the_same_input_gives_the_same_bytes(self, name, encoder, images, texts):
        model = encoder(name)
        examples = _examples(model, images, texts)
        first, second = model.encode(examples), model.encode(examples)
        assert all(torch.equal(first[column], second[column]) for column in first)

    def test_only_the_layers_asked_for_are_visited_once_each(self, name, encoder, images, texts):
        model = encoder(name)
        wanted = [model.layers[0].name, model.layers[-1].name]
        seen: list[str] = []
        model.forward(_examples(model, images, texts), lambda layer, _: seen.append(layer), wanted=frozenset(wanted))
        assert seen == wanted
        everything = model.encode(_examples(model, images, texts))
        some = model.encode(_examples(model, images, texts), layers=wanted)
        assert all(torch.equal(some[layer], everything[layer]) for layer in wanted)

    def test_tokens_come_with_the_pooled_layers_and_pool_to_them(self, name, encoder, images, texts):
        model = encoder(name)
        examples = _examples(model, images, texts)
        layer = next(layer for layer in reversed(model.layers) if layer.form != "vector")
        pooled, kept = model.encode_tokens(examples, {layer.name: torch.float32}, pooling=["mean"], layers=[layer.name])
        tokens = kept[layer.name]
        assert tokens.values.shape == (sum(tokens.lengths), layer.width)
        if model.modality == "text":
            assert tokens.lengths == [len(example) for example in examples]
            assert (tokens.prefix, tokens.grid) == (0, None)
        else:
            assert tokens.grid is not None
            assert tokens.lengths == [tokens.prefix + tokens.grid[0] * tokens.grid[1]] * len(examples)
        rows = tokens.values.split(tokens.lengths)
        means = torch.stack([row[tokens.prefix :].mean(dim=0) for row in rows])
        torch.testing.assert_close(means, pooled[layer.name], rtol=1e-5, atol=1e-6)
        assert torch.equal(
            pooled[layer.name], model.encode(examples, pooling=["mean"], layers=[layer.name])[layer.name]
        )

    def test_preprocess_survives_pickling(self, name, encoder, images, texts):
        model = encoder(name)
        copy = pickle.loads(pickle.dumps(model.preprocess))
        item = images[0] if model.modality == "vision" else texts[1]
        if model.modality == "vision":
            assert torch.equal(copy(item), model.preprocess(item))
            assert copy(item).dtype == torch.float32
            assert list(copy(item).shape[1:]) == model.provenance["preprocessing"]["input_size"]
        else:
            assert copy(item) == model.preprocess(item)

    def test_provenance_is_json_and_complete(self, name, encoder):
        stated = json.loads(json.dumps(dict(encoder(name).provenance)))
        assert {"source", "revision", "weights", "preprocessing", "precision", "libraries"} <= set(stated)
        assert len(stated["weights"]) == 64
        assert stated["precision"] == "float32"
        assert ("tokenizer" in stated) == (encoder(name).modality == "text")

    def test_the_description_needs_no_weights_and_agrees(self, name, encoder, tiny, tmp_path_factory):
        model = encoder(name)
        if name.startswith("timm:"):
            spec = f"{name}@{model.provenance['location']}"
        else:
            spec = _spec(name, tiny, Path())
        told = describe(spec)
        assert told.layers == model.layers
        assert told.present
        assert told.parameters > 0
        assert told.poolings == model.poolings


@pytest.mark.parametrize("name", TOKENS)
def test_patch_tokens_exclude_cls_and_registers(name, encoder, images):
    model = encoder(name)
    seen: dict[str, Hidden] = {}
    model.forward([model.preprocess(images[0])], seen.__setitem__, wanted=frozenset(["block.01"]))
    hidden = seen["block.01"]
    assert hidden.grid is not None
    assert hidden.values.shape[1] == hidden.prefix + hidden.grid[0] * hidden.grid[1]
    out = model.encode([model.preprocess(images[0])], pooling=["mean"], layers=["block.01"])["block.01"]
    torch.testing.assert_close(out, hidden.values[:, hidden.prefix :].mean(dim=1))
    registers = {"dinov2_with_registers": 5, "dinov3_vit": 5, "siglip#visual": 0, "deit": 2}
    assert hidden.prefix == registers.get(name, 2 if "distilled" in name else 1)


@pytest.mark.parametrize("name", TEXT)
def test_text_pooling_ignores_padding(name, encoder, texts):
    model = encoder(name)
    seen: dict[str, Hidden] = {}
    rows = [model.preprocess(text) for text in texts]
    model.forward(rows, seen.__setitem__, wanted=frozenset(["block.01"]))
    hidden = seen["block.01"]
    assert hidden.mask is not None
    assert hidden.mask.sum(dim=1).tolist() == [len(row) for row in rows]
    out = model.encode(rows, pooling=["mean", "last"], layers=["block.01"])
    for index, row in enumerate(rows):
        torch.testing.assert_close(out["block.01@mean"][index], hidden.values[index, : len(row)].mean(dim=0))
        torch.testing.assert_close(out["block.01@last"][index], hidden.values[index, len(row) - 1])
