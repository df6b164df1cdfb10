"""A folder for sentence-transformers gives the embeddings of the aligned model, with its own modules where it can."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from structure.pipeline import AlignedModel, align, export, extract
from structure.pipeline.aligners.aligner import Aligner
from structure.pipeline.aligners.heads.kinds import HEADS, make_head
from structure.pipeline.aligners.heads.token_heads import AnchorHead
from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.exports import sentence_folder
from structure.pipeline.exports.export_format import ExportSubject
from structure.pipeline.exports.sentence_folder import write_sentence_folder
from structure.store import Store, StructureError, open_store
from structure.store.errors import NotPresentError
from structure.store.without_warnings import without_warnings

pytest.importorskip("sentence_transformers", reason="the package sentence-transformers is not installed")

SAID = ["a red circle", "two blue squares above a star", "", "Красный круг", "a photo " * 400]
PORTABLE = Path(sentence_folder.__file__).parent / "portable" / "aligned_tower.py"


def pictures() -> list[Image.Image]:
    random = np.random.default_rng(3)
    return [Image.fromarray(random.integers(0, 256, (40, 70, 3), dtype=np.uint8)) for _ in range(3)]


def odd_pictures() -> list[Image.Image]:
    """Half transparent, with a palette, grey, and lying on its side as its EXIF says."""
    clear, turned = pictures()[0].convert("RGBA"), pictures()[1]
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    turned.getexif()[0x0112] = 6
    return [clear, pictures()[2].quantize(16), pictures()[0].convert("L"), turned]


def loaded(folder: Path, **options: Any) -> Any:
    from sentence_transformers import SentenceTransformer

    with without_warnings():
        return SentenceTransformer(str(folder), device="cpu", **options)


def same(model: Any, ours: AlignedModel, images: list[Image.Image]) -> None:
    """Images and texts, in batches of any size, to rounding."""
    for batch in (2, 32):
        found = model.encode(images, batch_size=batch, show_progress_bar=False)
        np.testing.assert_allclose(found, ours.encode_images(images), atol=2e-6)
        texts = model.encode(SAID, batch_size=batch, show_progress_bar=False)
        np.testing.assert_allclose(texts, ours.encode_texts(SAID), atol=2e-6)


@pytest.mark.parametrize("name", ["mlp", "csa"])
def test_maps_run_in_its_own_modules_without_any_code_in_the_folder(
    scenes_store: Store, tmp_path: Path, name: str
) -> None:
    done = export(name, tmp_path / "out", format="sentence-transformers", store=scenes_store)
    assert done.facts["own_code"] == {}
    assert not [file for file in done.files if file.endswith(".py")]
    ours = AlignedModel.load(scenes_store, name, device="cpu")
    same(loaded(tmp_path / "out"), ours, pictures())


@pytest.mark.parametrize("name", ["kernel-csa", "joined"])
def test_other_heads_run_in_the_file_that_lies_in_the_folder(scenes_store: Store, tmp_path: Path, name: str) -> None:
    done = export(name, tmp_path / "out", format="sentence-transformers", store=scenes_store)
    assert "vision" in done.facts["own_code"]
    ours = AlignedModel.load(scenes_store, name, device="cpu")
    with pytest.raises(ValueError, match="trust_remote_code"):
        loaded(tmp_path / "out")
    model = loaded(tmp_path / "out", trust_remote_code=True)
    same(model, ours, [*pictures(), *odd_pictures()])
    file = tmp_path / "image.png"
    pictures()[0].save(file)
    np.testing.assert_allclose(model.encode([str(file)]), ours.encode_images([file]), atol=2e-6)
    model.save_pretrained(str(tmp_path / "again"), create_model_card=False)
    same(loaded(tmp_path / "again", trust_remote_code=True), ours, pictures())


def test_images_and_texts_go_to_their_own_side(scenes_store: Store, tmp_path: Path) -> None:
    export("ridge", tmp_path / "out", format="sentence-transformers", store=scenes_store)
    model = loaded(tmp_path / "out")
    assert set(model.modalities) == {"image", "text"}
    images, texts = model.encode(pictures()), model.encode(SAID)
    ours = AlignedModel.load(scenes_store, "ridge", device="cpu")
    expected = ours.similarity(ours.encode_images(pictures()), ours.encode_texts(SAID))
    np.testing.assert_allclose(model.similarity(images, texts), expected, atol=5e-6)
    np.testing.assert_allclose(model.encode_query(SAID), texts, atol=2e-6)
    np.testing.assert_allclose(model.encode_document(pictures()), images, atol=2e-6)
    np.testing.assert_allclose(model.encode(["a.jpg"], modality="text"), ours.encode_texts(["a.jpg"]), atol=2e-6)
    with pytest.raises(ValueError, match="mixes multiple modalities"):
        model.encode([pictures()[0], "words"])


@pytest.mark.parametrize(
    ("architecture", "layers"),
    [
        ("test_vit", "block.02@mean,block.01"),
        ("test_vit", "final_norm@cls,block.01"),
        ("test_efficientnet", "block.02,block.01"),
        ("test_convnext", "embed+pooled,block.01"),
    ],
)
def test_timm_encoders_are_read_at_any_layer(architecture: str, layers: str, tmp_path: Path) -> None:
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network = timm.create_model(architecture, pretrained=False, num_classes=7)
    folder = tmp_path / "network"
    folder.mkdir()
    save_file(network.state_dict(), folder / "model.safetensors")
    config = {"timm_name": architecture, "kwargs": {"num_classes": 7}, "mean": [0.4] * 3, "std": [0.3] * 3}
    (folder / "config.json").write_text(json.dumps(config | {"input_size": [3, 160, 160]}))
    store = open_store(tmp_path / "store")
    pools = ("cls", "mean") if "vit" in architecture else ("mean",)
    extract([f"timm:{architecture}@{folder}"], "scenes:20", store=store, pool=pools)
    extract(["bundled:scenes-text"], "scenes:20", store=store, layers=["block.01"])
    align(layers, store=store, options=TrainingOptions(method="ridge"), name="a")
    done = export("a", tmp_path / "out", format="sentence-transformers", store=store)
    assert done.facts["own_code"].keys() == {"vision"}
    assert str(tmp_path) not in (tmp_path / "out" / "README.md").read_text()
    ours = AlignedModel.load(store, "a", device="cpu")
    same(loaded(tmp_path / "out", trust_remote_code=True), ours, [*pictures(), *odd_pictures()])


def test_real_encoders_of_transformers(real_data: Path, tmp_path: Path) -> None:
    """MobileNetV2 on its own pooled layer needs no code; one of its blocks is found among its hidden states."""
    store = open_store(tmp_path / "store")
    extract([f"hf:{real_data / 'encoders' / 'mobilenetv2_in1k_hf'}"], "scenes:20", store=store)
    extract(["bundled:scenes-text"], "scenes:20", store=store, layers=["block.01"])
    for name, layers in (("pooled", "pooled,block.01"), ("block", "block.10,block.01")):
        align(layers, store=store, options=TrainingOptions(method="ridge"), name=name)
        done = export(name, tmp_path / name, format="sentence-transformers", store=store)
        assert done.facts["own_code"] == {}
        same(loaded(tmp_path / name), AlignedModel.load(store, name, device="cpu"), pictures())


def test_both_towers_of_one_model_are_read_apart(tmp_path: Path) -> None:
    """A CLIP model of transformers: each route holds the model and runs one part of it."""
    from transformers import CLIPConfig, CLIPModel, ViTImageProcessor

    from tests.encoders.conftest import tokenizer

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision, words = (
        {"image_size": 32, "patch_size": 8},
        {"vocab_size": 600, "max_position_embeddings": 32, "eos_token_id": 2, "bos_token_id": 0},
    )
    config = CLIPConfig(vision_config=sizes | vision, text_config=sizes | words, projection_dim=24)
    CLIPModel(config).save_pretrained(tmp_path / "clip")
    tokenizer(tmp_path / "clip", longest=32)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "clip")
    store = open_store(tmp_path / "store")
    extract([f"hf:{tmp_path}/clip#visual", f"hf:{tmp_path}/clip#text"], "scenes:20", store=store)
    align("block.00,block.01", store=store, options=TrainingOptions(method="ridge"), name="a")
    done = export("a", tmp_path / "out", format="sentence-transformers", store=store)
    assert "one part of a larger model" in done.facts["own_code"]["text"]
    same(loaded(tmp_path / "out", trust_remote_code=True), AlignedModel.load(store, "a", device="cpu"), pictures())


@pytest.mark.parametrize("kind", sorted(HEADS))
def test_every_head_of_vectors_runs_alone(kind: str) -> None:
    """The map in the file is the registered one, or a head over tokens, which is refused."""
    from structure.pipeline.exports.portable.aligned_tower import MAPS, AlignedHead

    settings: dict[str, dict[str, Any]] = {
        "mlp": {"hidden": 5},
        "lowrank": {"rank": 3},
        "gated": {"hidden": 5, "norm": True},
        "relative": {"keep": 3, "exponent": 8},
        "kernel": {"landmarks": 9, "gamma": 0.7},
        "weighted": {"place": 1},
        "concat": {"widths": [2, 4], "inner": {"kind": "mlp", "settings": {"hidden": 5}}},
        "anchors": {"pooling": "global"},
        "tokens": {"hidden": 4, "cls": False},
    }
    head = make_head(kind, 6, 6, **settings.get(kind, {})).eval()
    random = torch.Generator().manual_seed(0)
    for value in head.state_dict().values():
        value.copy_(torch.rand(value.shape, generator=random) - 0.3)
    if kind in ("anchors", "tokens"):
        assert kind not in MAPS
        return
    alone = AlignedHead(kind, head.settings, dict(head.state_dict()))
    rows = torch.randn(4, 6, generator=random)
    torch.testing.assert_close(alone(rows), head(rows), atol=0, rtol=0)


def test_the_file_imports_nothing_of_this_package() -> None:
    tree = ast.parse(PORTABLE.read_text())
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported
    assert not [name for name in imported if name.startswith(("structure", "."))]


def test_what_does_not_run_alone_is_refused(
    clip_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_clip: Callable[..., Path]
) -> None:
    tokens = Aligner(AnchorHead(6, 4), AnchorHead(5, 4), "pal")
    with pytest.raises(StructureError, match=r"pal reads all tokens .*--format clip-benchmark or bundle"):
        write_sentence_folder(ExportSubject("a", tokens), tmp_path / "tokens")
    align("pooled,pooled", store=clip_store, options=TrainingOptions(method="ridge"), name="clip")
    with pytest.raises(StructureError, match=r"no image or text model of transformers or timm.*--format open-clip"):
        export("clip", tmp_path / "clip", format="sentence-transformers", store=clip_store)
    monkeypatch.setattr(sentence_folder, "find_spec", lambda name: None)
    with pytest.raises(NotPresentError, match=r"pip install .*sentence-transformers"):
        export("clip", tmp_path / "clip", format="sentence-transformers", store=clip_store)


def test_a_folder_that_gives_other_embeddings_is_not_handed_out(
    scenes_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where its own modules differ, the file takes their place; where that differs too, nothing is written."""
    real = sentence_folder._differences
    seen: list[bool] = []

    def first_differs(folder: Path, sides: Any, *, own_code: bool) -> dict[str, float]:
        seen.append(own_code)
        return {"vision": 0.0, "text": 0.5} if not own_code else real(folder, sides, own_code=own_code)

    monkeypatch.setattr(sentence_folder, "_differences", first_differs)
    done = export("ridge", tmp_path / "out", format="sentence-transformers", store=scenes_store)
    assert seen == [False, True]
    assert "give other embeddings here, by up to 0.5" in done.facts["own_code"]["text"]
    monkeypatch.setattr(sentence_folder, "_differences", lambda *_, **__: {"vision": 0.1, "text": 0.0})
    with pytest.raises(StructureError, match=r"other embeddings than the aligner, by up to 0\.1"):
        export("ridge", tmp_path / "wrong", format="sentence-transformers", store=scenes_store)
    assert not list(tmp_path.glob("*wrong*"))
