"""Audio by the same door: tiny audio models and generated WAV files, from the file to a ranked pair of layers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from structure.pipeline import extract, rank_layers
from structure.pipeline.datasets.dataset import AudioClip
from structure.pipeline.datasets.decode_audio import decode_audio
from structure.pipeline.datasets.loading import open_dataset
from structure.pipeline.encoders import describe, load_encoder
from structure.store import StructureError, open_store
from structure.store.errors import BadSampleError

RATE = 16000
SMALL = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
CONV = {"conv_dim": (8, 8), "conv_kernel": (10, 4), "conv_stride": (40, 8), "num_feat_extract_layers": 2}
WAVE = {**SMALL, **CONV, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2, "vocab_size": 20}
KINDS = {
    "Wav2Vec2": WAVE,
    "Hubert": WAVE | {"do_stable_layer_norm": True, "feat_extract_norm": "layer"},
    "WavLM": WAVE,
    "AST": SMALL | {"max_length": 64, "num_mel_bins": 16, "patch_size": 8, "frequency_stride": 8, "time_stride": 8},
}


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        import transformers

        if name not in made:
            torch.manual_seed(0)
            place = tmp_path_factory.mktemp(name)
            config = getattr(transformers, f"{name}Config")(**KINDS[name])
            getattr(transformers, f"{name}Model")(config).eval().save_pretrained(place)
            if name == "AST":
                transformers.ASTFeatureExtractor(num_mel_bins=16, max_length=64).save_pretrained(place)
            else:
                transformers.Wav2Vec2FeatureExtractor(return_attention_mask=False).save_pretrained(place)
            made[name] = place
        return made[name]

    return folder


def tone(pitch: float, seconds: float, rate: int = RATE) -> AudioClip:
    return AudioClip(np.sin(2 * np.pi * pitch * np.arange(int(seconds * rate)) / rate).astype(np.float32), rate)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", [*KINDS])
def test_layers_equal_the_librarys_hidden_states_whatever_else_is_in_the_batch(name: str, audio: Any) -> None:
    import transformers

    encoder = load_encoder(f"hf:{audio(name)}")
    assert encoder.modality == "audio"
    waves = [encoder.preprocess(tone(pitch, seconds)) for pitch, seconds in ((440, 0.5), (220, 0.3), (900, 0.5))]
    ours = encoder.encode(waves, pooling=["mean"])
    assert [*ours] == [layer.name for layer in encoder.layers]
    model = transformers.AutoModel.from_pretrained(audio(name)).eval()
    for row, wave in enumerate(waves):
        with torch.inference_mode():
            out = model(wave.values[None], output_hidden_states=True)
        states = list(out.hidden_states)
        if "final_norm" in ours:
            torch.testing.assert_close(ours["final_norm"][row], out.last_hidden_state[0].mean(0), rtol=1e-4, atol=1e-5)
        assert len(states) == 4
        normed = "final_norm" in ours and torch.allclose(states[-1], out.last_hidden_state)
        names = ["embed", "block.00", "block.01", "final_norm" if normed else "block.02"]
        for layer, state in zip(names, states, strict=True):
            torch.testing.assert_close(ours[layer][row], state[0].mean(0), rtol=1e-4, atol=1e-5, msg=layer)
    again = encoder.encode(waves, pooling=["mean"])
    assert all(torch.equal(ours[layer], again[layer]) for layer in ours)
    assert [layer.name for layer in describe(f"hf:{audio(name)}").layers] == [*ours]


def test_other_rates_are_resampled_and_long_recordings_cut(audio: Any) -> None:
    preprocess = load_encoder(f"hf:{audio('Wav2Vec2')}").preprocess
    same, half = preprocess(tone(300, 1.0)), preprocess(tone(300, 1.0, rate=8000))
    assert len(same) == len(half) == RATE
    assert float((same.values - half.values)[1000:-1000].abs().max()) < 0.05
    assert preprocess(tone(300, 31.5)).cut == pytest.approx(1.5)
    with pytest.raises(BadSampleError, match="400 are needed"):
        preprocess(tone(300, 0.01))


@pytest.mark.parametrize("kind", ["uint8", "int16", "int32", "float32"])
def test_wav_files_of_every_width_hold_the_same_sound(kind: str, tmp_path: Path) -> None:
    sound = tone(200, 0.1).samples * 0.5
    scale = {"uint8": 127, "int16": 2**15 - 1, "int32": 2**31 - 1, "float32": 1}[kind]
    values = (sound * scale + (128 if kind == "uint8" else 0)).astype(kind)
    wavfile.write(tmp_path / "a.wav", RATE, np.stack([values, values], axis=1))
    found = decode_audio((tmp_path / "a.wav").read_bytes(), item="a")
    assert found.rate == RATE
    np.testing.assert_allclose(found.samples, sound, atol=0.01)


@pytest.mark.parametrize("data", [b"", b"RIFF", b"RIFF\x24\x00\x00\x00WAVEfmt ", b"fLaC and more", b"hello"])
def test_bytes_that_are_no_sound_are_a_bad_sample(data: bytes) -> None:
    with pytest.raises(BadSampleError):
        decode_audio(data, item="a")


def test_recordings_with_captions_go_from_files_to_a_pair_of_layers(audio: Any, tmp_path: Path) -> None:
    rows = []
    for number in range(24):
        sound = tone(150 + 40 * number, 0.25 if number % 2 else 0.3).samples
        wavfile.write(tmp_path / f"{number}.wav", RATE, (sound * 20000).astype(np.int16))
        rows.append({"audio": f"{number}.wav", "captions": [f"tone number {number}", f"a hum of {number}"]})
    (tmp_path / "broken.wav").write_bytes(b"RIFF....")
    rows.append({"audio": "broken.wav", "captions": ["nothing"]})
    (tmp_path / "clotho.jsonl").write_text("\n".join(map(json.dumps, rows)))
    spec, store = f"pairs:{tmp_path / 'clotho.jsonl'}", open_store(tmp_path / "store")
    heard, _ = extract([f"hf:{audio('Wav2Vec2')}", "bundled:scenes-text"], spec, store=store)
    assert heard.features is not None
    assert heard.row()["modality"] == "audio"
    assert [*heard.features.skipped] == [24]
    dataset = open_dataset(spec, data_root=tmp_path)
    encoder = load_encoder(f"hf:{audio('Wav2Vec2')}")
    alone = encoder.encode([encoder.preprocess(dataset.audio(7))])
    np.testing.assert_allclose(heard.features.rows("block.01", 7, 8)[0], alone["block.01"][0], atol=2e-3)
    found = rank_layers(store=store, calibrate=5, k=3)
    assert found.ranking["vision"]["model"] == heard.plan.manifest.encoder
    assert found.ranking["rows"] == 24
    with pytest.raises(StructureError, match="pairs audio clips with captions"):
        extract("bundled:scenes-vit", spec, store=store)
    with pytest.raises(StructureError, match="has images and no audio clips"):
        extract(f"hf:{audio('Wav2Vec2')}", "scenes:4", store=store)
