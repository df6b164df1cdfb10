"""Every form of export gives the embeddings that the aligner gives, or is refused."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from structure.pipeline import AlignedModel, align, export, extract, load_aligner
from structure.pipeline.aligners.aligner import Aligner
from structure.pipeline.aligners.heads.closed_heads import IdentityHead, RelativeHead, WeightedHead
from structure.pipeline.aligners.heads.vector_heads import LinearHead, LowRankHead, MlpHead
from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.exports.affine import Affine, as_affine
from structure.pipeline.exports.clip_benchmark import arguments, register
from structure.pipeline.exports.onnx_heads import write_onnx
from structure.pipeline.exports.open_clip_towers import vision_tower
from structure.pipeline.exports.side import load_side
from structure.store import Store, StructureError, open_store
from structure.store.errors import FingerprintError, NotPresentError

QUICK = TrainingOptions(dim=10, epochs=2, learning_rate=1e-2)
VIT = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16}


def pictures() -> list[Image.Image]:
    random = np.random.default_rng(3)
    return [Image.fromarray(random.integers(0, 256, (40, 70, 3), dtype=np.uint8)) for _ in range(3)]


SAID = ["a red circle", "two blue squares above a star", "a photo of a cat"]


def ours(store: Store, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Encoder, layer, head: what the exported model must give."""
    aligner = load_aligner(store.folder("aligners", name))
    vision, text = load_side(aligner, "vision"), load_side(aligner, "text")
    return (
        vision.embed([vision.encoder.preprocess(picture) for picture in pictures()]),
        text.embed([text.encoder.preprocess(words) for words in SAID]),
    )


def theirs(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """What open_clip alone makes of the folder."""
    import open_clip

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    model.eval()
    with torch.no_grad():
        return (
            model.encode_image(torch.stack([preprocess(picture) for picture in pictures()]), normalize=True),
            model.encode_text(tokenizer(SAID), normalize=True),
        )


@pytest.mark.parametrize(
    "layers",
    ["pooled,pooled", "final_norm@cls,final_norm@last", "final_norm@mean,pooled"],
    ids=["pooled", "cls", "avg"],
)
def test_an_open_clip_folder_gives_the_same_embeddings(clip_store: Store, tmp_path: Path, layers: str) -> None:
    name = f"to-{layers.replace(',', '-').replace('@', '.')}"
    align(layers, store=clip_store, options=QUICK, name=name)
    done = export(name, tmp_path / "out", format="open-clip", store=clip_store)
    assert max(done.facts["largest_difference"].values()) < 1e-5
    for mine, other in zip(ours(clip_store, name), theirs(tmp_path / "out"), strict=True):
        assert (mine - other).abs().max() < 1e-5
        assert mine.shape == (3, 10)
    moved = (tmp_path / "out").rename(tmp_path / "elsewhere")
    assert (theirs(moved)[0] - ours(clip_store, name)[0]).abs().max() < 1e-5


@pytest.mark.parametrize("kind", ["resnet", "timm", "custom"])
def test_every_kind_of_tower_takes_a_head(kind: str, make_clip: Callable[..., Path], tmp_path: Path) -> None:
    text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    vision: dict[str, Any] = {
        "resnet": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8},
        "timm": {"timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": "none", "image_size": 160},
        "custom": {**VIT, "final_ln_after_pool": True, "pool_type": "avg"},
    }[kind]
    more: dict[str, Any] = {"text": {**text, "proj_bias": True}} if kind == "custom" else {}
    if kind == "timm":
        more["embed_dim"] = 64
    model = f"open_clip:local-dir:{make_clip(tmp_path / 'model', vision, **more)}"
    store = open_store(tmp_path / "store")
    extract([f"{model}#visual", f"{model}#text"], "scenes:40", store=store, layers=["pooled"])
    align("pooled,pooled", store=store, options=QUICK, name="a")
    export("a", tmp_path / "out", format="open-clip", store=store)
    for mine, other in zip(ours(store, "a"), theirs(tmp_path / "out"), strict=True):
        assert (mine - other).abs().max() < 1e-5


def test_a_raw_layer_cannot_come_out_of_an_open_clip_tower(clip_store: Store, tmp_path: Path) -> None:
    align("block.01@cls,pooled", store=clip_store, options=QUICK, name="raw")
    with pytest.raises(StructureError, match=r"ln_post.*raw layer block.01.*--format clip-benchmark"):
        export("raw", tmp_path / "out", format="open-clip", store=clip_store)
    assert not any(tmp_path.glob("*out*"))  # nothing is left of a refused export


def test_what_open_clip_cannot_express_is_refused(clip_store: Store, tmp_path: Path) -> None:
    align("pooled,pooled", store=clip_store, options=QUICK.changed(method="mlp"), name="bent")
    with pytest.raises(StructureError, match=r"no single matrix.*vision \(mlp\), text \(mlp\)"):
        export("bent", tmp_path / "out", format="open-clip", store=clip_store)
    align("pooled,pooled", store=clip_store, options=QUICK.changed(method="csa", weighted=True), name="weighted")
    with pytest.raises(StructureError, match=r"vision \(weighted\), text \(weighted\).*--format clip-benchmark"):
        export("weighted", tmp_path / "out", format="open-clip", store=clip_store)
    align("final_norm@mean,final_norm@mean", store=clip_store, options=QUICK, name="averaged")
    with pytest.raises(StructureError, match=r"pools last .*pooled by 'mean'"):
        export("averaged", tmp_path / "out", format="open-clip", store=clip_store)


def test_an_encoder_of_another_library_is_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    extract(["bundled:scenes-vit", "bundled:scenes-text"], "scenes:40", store=store, layers=["pooled"])
    align("pooled,pooled", store=store, options=QUICK, name="a")
    with pytest.raises(StructureError, match="bundled:scenes-vit is no open_clip tower"):
        export("a", tmp_path / "out", format="open-clip", store=store)


def test_more_dimensions_than_the_tower_has() -> None:
    class Tower(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.proj = torch.nn.Parameter(torch.randn(4, 3))
            self.ln_post = torch.nn.LayerNorm(4)

    head = Affine(torch.randn(8, 3, dtype=torch.float64), torch.ones(8, dtype=torch.float64))
    with pytest.raises(StructureError, match=r"8 dimensions are more .* \(4\)"):
        vision_tower(Tower(), {"layers": 1}, head, layer="pooled", pooling="cls")


def test_heads_as_one_matrix() -> None:
    random = torch.Generator().manual_seed(0)
    x = torch.randn(5, 6, generator=random)
    linear, lowrank, identity = LinearHead(6, 4), LowRankHead(6, 4, gate=0.0), IdentityHead(6, 6)
    linear.reset(random), lowrank.reset(random)
    identity.mean.copy_(torch.randn(6, generator=random))
    for head in (linear, lowrank.eval(), identity):
        affine = as_affine(head)
        assert affine is not None
        torch.testing.assert_close(x.double() @ affine.weight.T + affine.bias, head(x).double(), atol=1e-6, rtol=0)
    open_gate = LowRankHead(6, 4)
    open_gate.reset(random)
    open_gate.weight2.data.fill_(1.0)
    assert as_affine(open_gate) is None
    assert as_affine(MlpHead(6, 4, hidden=3)) is None


def _heads() -> list[Aligner]:
    """Heads of many kinds, one pair with a weighted similarity."""
    random = torch.Generator().manual_seed(0)
    linear, gate, mlp = LinearHead(6, 4), LowRankHead(5, 4), MlpHead(5, 9, hidden=3)
    for head in (linear, gate, mlp):
        head.reset(random)
        head.eval().requires_grad_(False)
    gate.weight2.normal_(generator=random)
    anchors = RelativeHead(6, 9, keep=4, exponent=8)
    anchors.anchors.normal_(generator=random)
    rho = torch.linspace(0.9, -0.1, 9)
    maps = [torch.randn(width, 9, generator=random, dtype=torch.float64) for width in (6, 5)]
    weighted = [WeightedHead.of_map(by, torch.ones(len(by)).double(), rho, place=n) for n, by in enumerate(maps)]
    return [Aligner(linear, gate, "lowrank"), Aligner(anchors, mlp, "asif"), Aligner(*weighted, "csa")]


@pytest.mark.parametrize("number", range(3), ids=["linear and lowrank", "asif and mlp", "weighted csa"])
def test_onnx_heads_give_the_same_similarities(number: int, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    aligner = _heads()[number]
    write_onnx(aligner, tmp_path / "out")
    random = np.random.default_rng(0)
    found = []
    for name, width, rows in (("vision", 6, 7), ("text", 5, 3)):
        session = runtime.InferenceSession(tmp_path / "out" / f"{name}.onnx", providers=["CPUExecutionProvider"])
        features = random.standard_normal((rows, width)).astype(np.float32)
        (embeddings,) = session.run(None, {"features": features})
        found.append((features, embeddings))
    images, texts = aligner.embed_images(found[0][0]), aligner.embed_texts(found[1][0])
    np.testing.assert_allclose(found[0][1] @ found[1][1].T, aligner.similarity(images, texts), atol=1e-6)
    np.testing.assert_allclose(found[0][1], images, atol=1e-6)
    for file in (tmp_path / "out").iterdir():
        assert b".py" not in file.read_bytes()  # the exporter notes where each line of the source is on this machine


def test_onnx_without_its_packages_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("structure.pipeline.exports.onnx_heads.find_spec", lambda name: None)
    with pytest.raises(NotPresentError, match=r"onnx and onnxscript.*structure-align\[onnx\]"):
        write_onnx(_heads()[0], tmp_path)


def test_safetensors_are_the_aligner_itself(clip_store: Store, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    align("pooled,pooled", store=clip_store, options=QUICK, name="plain")
    done = export("plain", tmp_path / "out", format="safetensors", store=clip_store)
    assert done.files == ("README.md", "aligner.json", "aligner.safetensors")
    features = np.random.default_rng(0).standard_normal((4, 24)).astype(np.float32)
    weights = load_file(tmp_path / "out" / "aligner.safetensors")
    raw = features @ weights["vision.weight"].T + weights["vision.bias"]
    expected = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    np.testing.assert_allclose(load_aligner(tmp_path / "out").embed_images(features), expected, atol=1e-6)
    with pytest.raises(StructureError, match="is there and not empty"):
        export("plain", tmp_path / "out", format="safetensors", store=clip_store)


def test_names_that_are_wrong(clip_store: Store, tmp_path: Path) -> None:
    align("pooled,pooled", store=clip_store, options=QUICK, name="plain")
    with pytest.raises(StructureError, match="Did you mean plain"):
        export("plane", tmp_path / "out", format="onnx", store=clip_store)
    with pytest.raises(StructureError, match="Did you mean open-clip"):
        export("plain", tmp_path / "out", format="open_clip", store=clip_store)


def test_clip_benchmark_gets_a_model_of_the_shape_it_asks_for(
    clip_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for its registry; the command line itself is run by hand (another NumPy is needed)."""
    align("block.01@mean,block.00@mean", store=clip_store, options=QUICK.changed(method="mlp"), name="any")
    done = export("any", tmp_path / "out", format="clip-benchmark", store=clip_store)
    assert set(done.files) == {"README.md", "aligner.json", "aligner.safetensors", "run.py"}
    compile((tmp_path / "out" / "run.py").read_text(), "run.py", "exec")
    registry = types.ModuleType("clip_benchmark.models")
    registry.TYPE2FUNC, registry.MODEL_TYPES = {}, ["open_clip"]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "clip_benchmark", types.ModuleType("clip_benchmark"))
    monkeypatch.setitem(sys.modules, "clip_benchmark.models", registry)
    register(tmp_path / "out")
    register(tmp_path / "out")
    assert registry.MODEL_TYPES == ["open_clip", "structure"]
    model, transform, tokenizer = registry.TYPE2FUNC["structure"]("aligned", "out", None, "cpu")
    images = torch.stack([transform(picture) for picture in pictures()])
    texts = tokenizer(SAID).to("cpu")
    with torch.no_grad():
        embedded = model.eval().encode_image(images), model.encode_text(texts)
    for mine, other in zip(ours(clip_store, "any"), embedded, strict=True):
        torch.testing.assert_close(other, mine, atol=1e-6, rtol=0)
    assert arguments(["build", "a.json"], tmp_path / "out") == ["build", "a.json"]
    assert arguments(["eval", "--no_amp", "--trust-remote-code"], tmp_path / "out")[2:] == (
        ["--model_type", "structure", "--model", "aligned", "--pretrained", "out"]
    )


def test_an_encoder_with_other_weights_is_not_taken(clip_store: Store) -> None:
    align("pooled,pooled", store=clip_store, options=QUICK, name="plain")
    aligner = load_aligner(clip_store.folder("aligners", "plain"))
    encoders = json.loads(json.dumps(aligner.metadata["encoders"]))
    encoders["vision"]["identity"]["weights"] = "0" * 64
    with pytest.raises(FingerprintError, match="not the one that the aligner was trained on"):
        load_side(aligner.describe(encoders=encoders), "vision")
    with pytest.raises(StructureError, match="says nothing of encoders"):
        load_side(Aligner(aligner.vision, aligner.text, "linear"), "vision")
    encoders["text"]["spec"] = ""
    with pytest.raises(NotPresentError, match="were imported"):
        load_side(aligner.describe(encoders=encoders), "text")


def test_code_of_an_encoder_runs_only_where_that_is_said(
    clip_store: Store, tmp_path: Path, trusted: list[bool]
) -> None:
    align("pooled,pooled", store=clip_store, options=QUICK, name="plain")
    for given in (False, True):
        folder = tmp_path / str(given)
        export("plain", folder, format="clip-benchmark", store=clip_store, trust_remote_code=given)
        AlignedModel.load(clip_store, "plain", device="cpu", trust_remote_code=given)
    assert trusted == [False] * 4 + [True] * 4
