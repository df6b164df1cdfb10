"""The bundled encoders load with the Auto classes, offline, whole and small, and are the ones on their cards."""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from structure.pipeline.datasets.scenes import Scenes
from structure.pipeline.encoders.bundled import pretrain
from structure.pipeline.encoders.bundled import text_pretraining as text
from structure.pipeline.encoders.bundled import vision_pretraining as vision

FOLDER = Path(str(files("structure.pipeline.encoders.bundled")))
NAMES = ("scenes-vit", "scenes-text")
CAPTIONS = ["a red circle", "a large striped blue star above a small cyan hoop", "something unseen: zebra 漢字", ""]


def pixels(count: int = 6) -> torch.Tensor:
    dataset = Scenes("test", count)
    processor = AutoImageProcessor.from_pretrained(FOLDER / "scenes-vit")
    values: torch.Tensor = processor([dataset.image(i) for i in range(count)], return_tensors="pt")["pixel_values"]
    return values


def tokens(captions: list[str]) -> dict[str, torch.Tensor]:
    tokenizer = AutoTokenizer.from_pretrained(FOLDER / "scenes-text")
    return dict(tokenizer(captions, padding=True, truncation=True, return_tensors="pt"))


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_is_in_the_file(name: str, tmp_path: Path) -> None:
    model, report = AutoModel.from_pretrained(FOLDER / name, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert model.dtype == torch.float32
    # Written again by the library, since a file's names and a model's differ between its versions.
    model.save_pretrained(tmp_path)
    stored, again = (load_file(folder / "model.safetensors") for folder in (FOLDER / name, tmp_path))
    assert stored.keys() == again.keys()
    assert all(torch.equal(stored[key].float(), value) for key, value in again.items())
    assert not model.training


@torch.inference_mode()
def test_vision_features_are_finite_repeatable_and_of_every_layer() -> None:
    values = pixels()
    assert values.shape == (6, 3, 64, 64)
    runs = [
        AutoModel.from_pretrained(FOLDER / "scenes-vit")(pixel_values=values, output_hidden_states=True)
        for _ in range(2)
    ]
    assert len(runs[0].hidden_states) == vision.DEPTH + 1 == 7
    for one, other in zip(runs[0].hidden_states, runs[1].hidden_states, strict=True):
        assert one.shape == (6, 65, 128)
        assert torch.isfinite(one).all()
        assert torch.equal(one, other)
    assert runs[0].pooler_output.std(dim=0).mean() > 0.05


@torch.inference_mode()
def test_text_features_are_finite_repeatable_and_free_of_padding() -> None:
    model = AutoModel.from_pretrained(FOLDER / "scenes-text")
    batch = tokens(CAPTIONS)
    out = model(**batch, output_hidden_states=True)
    assert len(out.hidden_states) == text.DEPTH + 1 == 5
    assert torch.isfinite(torch.stack(out.hidden_states)).all()
    for row, caption in enumerate(CAPTIONS):
        alone = model(**tokens([caption])).last_hidden_state[0]
        torch.testing.assert_close(out.last_hidden_state[row, : len(alone)], alone, atol=1e-4, rtol=1e-4)


def test_pictures_are_fed_as_in_training() -> None:
    """The image processor and the training's own normalisation agree on a picture that is not resized."""
    raw = vision.render(2, seed=5).float() / 255
    dataset = Scenes("pretrain", 2, 5)
    processor = AutoImageProcessor.from_pretrained(FOLDER / "scenes-vit")
    fed = processor([dataset.image(0), dataset.image(1)], return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(fed, (raw - vision.MEAN) / vision.STD, atol=1e-5, rtol=1e-5)


def test_kept_patches_are_encoded_as_the_whole_model_encodes_them() -> None:
    """Training skips hidden patches; with none hidden it must be the model that users load."""
    model, values = AutoModel.from_pretrained(FOLDER / "scenes-vit"), pixels(2)
    everything = torch.arange(64).expand(2, -1)
    with torch.inference_mode():
        patches, pooled = vision.encode_kept(model, values, everything)
        out = model(pixel_values=values)
    torch.testing.assert_close(patches, out.last_hidden_state[:, 1:], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(pooled, out.pooler_output, atol=1e-4, rtol=1e-4)


def test_every_word_of_captions_and_prompts_has_its_own_token() -> None:
    tokenizer = AutoTokenizer.from_pretrained(FOLDER / "scenes-text")
    dataset = Scenes("test", 200)
    texts = [caption for index in range(200) for caption in dataset.item(index).captions]
    texts += [
        template.replace("{c}", name)
        for task in dataset.tasks.values()
        for template in task.templates
        for name in task.classes
    ]
    pieces = {piece for row in texts for piece in tokenizer.tokenize(row)}
    assert not [piece for piece in pieces if piece.startswith("##") or piece == "[UNK]"]
    assert max(len(row) for row in tokenizer(texts)["input_ids"]) <= tokenizer.model_max_length == text.LENGTH
    assert "[UNK]" not in tokenizer.tokenize("Zebras graze, don't they?")


def test_together_they_are_under_six_megabytes() -> None:
    total = sum(path.stat().st_size for name in NAMES for path in (FOLDER / name).iterdir())
    assert total < 6_000_000


@pytest.mark.parametrize("name", NAMES)
def test_the_card_tells_of_these_weights(name: str) -> None:
    digest = hashlib.sha256((FOLDER / name / "model.safetensors").read_bytes()).hexdigest()
    assert digest in (FOLDER / "README.md").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_the_folder_has_what_each_auto_class_reads(name: str) -> None:
    found = {path.name for path in (FOLDER / name).iterdir()}
    other = {"scenes-vit": {"preprocessor_config.json"}, "scenes-text": {"tokenizer.json", "tokenizer_config.json"}}
    assert found == {"config.json", "model.safetensors", *other[name]}
    assert json.loads((FOLDER / name / "config.json").read_text())["dtype"] == "float32"


def test_training_runs_and_is_repeatable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps of each, twice, to the same bytes."""
    for name, value in {"VISION_IMAGES": 32, "VISION_BATCH": 8, "TEXT_SCENES": 20, "TEXT_BATCH": 8}.items():
        monkeypatch.setattr(pretrain, name, value)
    for run in ("one", "other"):
        pretrain.pretrain_vision(tmp_path / run / "vision", seed=0, steps=2)
        pretrain.pretrain_text(tmp_path / run / "text", seed=0, steps=2)
    for kind in ("vision", "text"):
        one, other = (tmp_path / run / kind / "model.safetensors" for run in ("one", "other"))
        assert one.read_bytes() == other.read_bytes()
    AutoModel.from_pretrained(tmp_path / "one" / "vision")
    AutoTokenizer.from_pretrained(tmp_path / "one" / "text")
