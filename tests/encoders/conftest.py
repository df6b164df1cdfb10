"""Tiny real models: built from config with a fixed seed and saved as a user would find them on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

WORDS = ["a", "the", "cat", "dog", "sits", "runs", "red", "blue", "on", "under", "mat", "with", "two", "small"]
WORDS += ["large", "and"]
TEXTS = [
    "a cat",
    "the small red dog runs under a large blue mat with two cats and a dog",
    "dog",
    "the cat sits on the mat",
]


def tokenizer(folder: Path, *, pad: bool = True, special: bool = True, side: str = "right", longest: int = 40) -> Any:
    """A word-level tokenizer saved to `folder`; without `special` it adds no tokens around a text."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = ["<s>", "<pad>", "</s>", "<unk>"]
    vocabulary = {word: index for index, word in enumerate([*names, *WORDS])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    if special:
        backend.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
        )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        cls_token="<s>" if special else None,
        pad_token="<pad>" if pad else None,
        padding_side=side,
        model_max_length=longest,
    )
    fast.save_pretrained(folder)
    return fast


def save(module: Any, folder: Path) -> None:
    module.eval().save_pretrained(folder)


def processor(folder: Path, side: int) -> None:
    from transformers import ViTImageProcessor

    ViTImageProcessor(size={"height": side, "width": side}).save_pretrained(folder)


TEXT = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24, "vocab_size": 20}
VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "image_size": 32,
    "patch_size": 8,
}


def _text(name: str, options: dict[str, Any], **tokens: Any) -> Callable[[Path], None]:
    def build(folder: Path) -> None:
        import transformers

        config = getattr(transformers, f"{name}Config")(**options, pad_token_id=1, bos_token_id=0, eos_token_id=2)
        save(getattr(transformers, f"{name}Model")(config), folder)
        tokenizer(folder, **tokens)

    return build


def _vision(name: str, options: dict[str, Any]) -> Callable[[Path], None]:
    def build(folder: Path) -> None:
        import transformers

        save(getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**options)), folder)
        processor(folder, 32)

    return build


def _two(name: str) -> Callable[[Path], None]:
    def build(folder: Path) -> None:
        import transformers

        text = TEXT | {"max_position_embeddings": 24, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
        extra = {"projection_dim": 8} if name == "CLIP" else {}
        config = getattr(transformers, f"{name}Config")(text_config=text, vision_config=VIT, **extra)
        save(getattr(transformers, f"{name}Model")(config), folder)
        processor(folder, 32)
        tokenizer(folder, longest=24)

    return build


TEXT_MODELS: dict[str, Callable[[Path], None]] = {
    "bert": _text("Bert", TEXT),
    "roberta": _text("Roberta", TEXT | {"max_position_embeddings": 42}),
    "xlm_roberta": _text("XLMRoberta", TEXT | {"max_position_embeddings": 42}),
    "mpnet": _text("MPNet", TEXT | {"max_position_embeddings": 42}),
    "distilbert": _text("DistilBert", {"dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 24, "vocab_size": 20}),
    "gte": _text("Gte", TEXT),
    "gpt2": _text(
        "GPT2", {"n_embd": 16, "n_layer": 3, "n_head": 2, "vocab_size": 20, "n_positions": 40}, pad=False, special=False
    ),
    "llama": _text("Llama", TEXT, pad=False, side="left"),
    "qwen2": _text("Qwen2", TEXT | {"num_key_value_heads": 2}, special=False, side="left"),
}
VISION_MODELS: dict[str, Callable[[Path], None]] = {
    "vit": _vision("ViT", VIT),
    "dinov2": _vision("Dinov2", VIT | {"mlp_ratio": 2}),
    "dinov2_with_registers": _vision("Dinov2WithRegisters", VIT | {"mlp_ratio": 2, "num_register_tokens": 4}),
    "dinov3_vit": _vision("DINOv3ViT", VIT | {"num_register_tokens": 4}),
    "deit": _vision("DeiT", VIT),
    "beit": _vision("Beit", VIT),
    "convnext": _vision("ConvNext", {"hidden_sizes": [8, 12, 16, 24], "depths": [1, 1, 2, 1], "image_size": 32}),
    "convnextv2": _vision("ConvNextV2", {"hidden_sizes": [8, 12, 16, 24], "depths": [1, 1, 2, 1], "image_size": 32}),
    "dinov3_convnext": _vision("DINOv3ConvNext", {"hidden_sizes": [8, 12, 16, 24], "depths": [1, 1, 2, 1]}),
    "mobilenet_v2": _vision("MobileNetV2", {"depth_multiplier": 0.25, "image_size": 32}),
    "resnet": _vision(
        "ResNet", {"embedding_size": 8, "hidden_sizes": [8, 12, 16, 24], "depths": [1, 1, 2, 1], "layer_type": "basic"}
    ),
}
TWO_TOWERS: dict[str, Callable[[Path], None]] = {"clip": _two("CLIP"), "siglip": _two("Siglip")}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`tiny("bert")` -> the folder of that tiny model, made once."""
    root = tmp_path_factory.mktemp("models")
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            torch.manual_seed(0)
            place = root / f"tiny-{name}"
            (TEXT_MODELS | VISION_MODELS | TWO_TOWERS | {"open_clip": _open_clip})[name](place)
            made[name] = place
        return made[name]

    return folder


def _open_clip(folder: Path) -> None:
    from open_clip.model import CLIP
    from safetensors.torch import save_file

    vision = {"image_size": 32, "layers": 3, "width": 64, "patch_size": 8}
    text = {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 3}
    config = {"embed_dim": 12, "vision_cfg": vision, "text_cfg": text}
    folder.mkdir()
    module = CLIP(**json.loads(json.dumps(config)))
    save_file(
        {key: value.contiguous() for key, value in module.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {"size": 32}}))


@pytest.fixture(scope="session")
def images() -> list[Image.Image]:
    """Four images of different shape."""
    draw = np.random.default_rng(0)
    return [
        Image.fromarray(draw.integers(0, 255, (height, width, 3), dtype=np.uint8))
        for height, width in ((40, 60), (64, 32), (33, 33), (90, 50))
    ]


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Four captions of different length."""
    return TEXTS


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny tensors are slower on two threads than on one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
