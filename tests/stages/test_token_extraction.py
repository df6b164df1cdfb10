"""Token features end to end: what is stored is what the encoder gives, whatever happened on the way."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file

from structure.cli.main import run
from structure.pipeline import extract
from structure.pipeline.datasets.pairs import PairsFile
from structure.pipeline.datasets.scenes import Scenes
from structure.pipeline.encoders import load_encoder
from structure.pipeline.progress import Event, Note
from structure.pipeline.stages.repair import repair
from structure.store import Store, StructureError, open_store
from structure.store.errors import BadSampleError
from tests.warm import Warm

VIT, TEXT = "bundled:scenes-vit", "bundled:scenes-text"
LAYERS = ("block.02", "block.03")


def tree(root: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def key_of(store: Store, encoder: str) -> str:
    return next(key for key in store if key.endswith(encoder))


@pytest.fixture(scope="module")
def with_tokens(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Pooled layers and tokens of both bundled encoders, asked for at once; read-only for tests."""
    store = open_store(tmp_path_factory.mktemp("tokens") / "store")
    extract([VIT, TEXT], "scenes:150", store=store, tokens=["block.0[23]"])
    return store


@pytest.fixture
def copied(with_tokens: Store, tmp_path: Path) -> Store:
    """A copy that a test may change."""
    import shutil

    shutil.copytree(with_tokens.url, tmp_path / "store")
    return open_store(tmp_path / "store")


def test_stored_tokens_are_what_the_encoder_gives_alone(with_tokens: Store) -> None:
    scenes = Scenes(split="train")
    for model, name in ((VIT, "scenes-vit"), (TEXT, "scenes-text")):
        encoder = load_encoder(model)
        features = with_tokens[key_of(with_tokens, name)]
        assert features.token_layers == LAYERS
        assert features.verify() == []
        for layer in LAYERS:
            every = features.tokens(layer)
            for row in (0, 63, 64, 149):
                source = scenes.image(row) if model == VIT else scenes.item(row).captions[0]
                _, alone = encoder.encode_tokens([encoder.preprocess(source)], {layer: torch.float32}, layers=())
                expected = alone[layer].values.numpy()
                assert every.row(row).shape == expected.shape
                assert np.abs(every.row(row) - expected).max() <= 2e-3 * max(1.0, np.abs(expected).max())
                one = features.tokens(layer, row, row + 1)
                np.testing.assert_array_equal(one.values, every.row(row))
                assert (one.prefix, one.grid) == (alone[layer].prefix, alone[layer].grid)


def test_pooling_the_stored_tokens_gives_the_stored_layer(with_tokens: Store) -> None:
    vision, text = (with_tokens[key_of(with_tokens, name)] for name in ("scenes-vit", "scenes-text"))
    tokens = vision.tokens("block.02")
    values, mask = tokens.padded()
    assert mask.all()
    assert tokens.grid is not None
    assert values.shape[1] == tokens.prefix + tokens.grid[0] * tokens.grid[1]
    pooled = vision.manifest.identity["extraction"]["pooling"][0]
    ours = values[:, 0] if pooled == "cls" else values[:, tokens.prefix :].astype(np.float32).mean(axis=1)
    np.testing.assert_allclose(ours, vision.rows("block.02"), rtol=2e-2, atol=2e-2)
    values, mask = text.tokens("block.02").padded()
    assert not mask.all()
    ours = values.astype(np.float32).sum(axis=1) / mask.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(ours, text.rows("block.02"), rtol=2e-2, atol=2e-2)


def test_tokens_asked_for_later_touch_nothing_and_give_the_same_bytes(with_tokens: Store, tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    extract([VIT, TEXT], "scenes:150", store=store)
    before, contents = tree(tmp_path), {key: store[key].content() for key in store}
    extract([VIT, TEXT], "scenes:150", store=store, tokens=["block.02"])
    after = tree(tmp_path)
    chunks = [name for name in before if "/c/" in name]
    assert [name for name in chunks if after[name] != before[name]] == []
    assert {key: store[key].content() for key in store} == contents
    assert {key: store[key].fingerprint for key in store} == {key: with_tokens[key].fingerprint for key in store}
    extract([VIT, TEXT], "scenes:150", store=store, tokens=["block.03"])
    assert tree(tmp_path / "store") == tree(Path(with_tokens.url))


def test_killed_while_writing_the_bytes_are_those_of_an_uninterrupted_run(
    with_tokens: Store, tmp_path: Path, warm: Warm
) -> None:
    """kill -9 when the first chunks are there; then the same command to the end (many more: benchmarks/faults)."""
    code = (
        "import sys; from structure.pipeline import extract\n"
        "extract(sys.argv[1], 'scenes:150', store=sys.argv[2], tokens=['block.02', 'block.03'])\n"
    )
    store = tmp_path / "store"
    process = warm.start(code, VIT, str(store))
    deadline = time.monotonic() + 120
    while not list(store.glob("features/*/*/*/tokens/*/c/1/0/0")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    extract(VIT, "scenes:150", store=store, tokens=list(LAYERS))
    key = key_of(with_tokens, "scenes-vit")
    assert tree(store / "features" / key) == tree(Path(with_tokens.url) / "features" / key)


@pytest.mark.parametrize("name", ["scenes-vit", "scenes-text"])
def test_every_kind_of_damage_is_found_and_repaired_byte_for_byte(copied: Store, name: str) -> None:
    root = Path(copied.url)
    good = tree(root)
    key = key_of(copied, name)
    random = np.random.default_rng(0)
    inside = [path for path in good if path.startswith(f"features/{key}/tokens/")]
    chunks = [path for path in inside if "/block.02/c/" in path]
    chosen = [chunks[i] for i in random.permutation(len(chunks))[:4]]
    chosen += [path for path in inside if path.endswith(("block.03/zarr.json", "length/c/0", "start/c/0"))]
    for number, path in enumerate(chosen):
        data = bytearray(good[path])
        data[int(random.integers(len(data)))] ^= 1 << int(random.integers(8))
        if number % 3 == 1:
            (root / path).unlink()
        else:
            (root / path).write_bytes(data if number % 3 == 0 else data[: len(data) // 2])
        assert copied[key].verify(), path
        assert repair(key, store=copied).faults, path
        assert tree(root) == good, path


def test_a_grown_dataset_grows_its_tokens(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    pairs = _captions(tmp_path, 70)
    extract([TEXT], f"pairs:{pairs}", store=store, tokens=["block.01"])
    old = store["data/all/scenes-text"].tokens("block.01")
    extract([TEXT], f"pairs:{_captions(tmp_path, 150)}", store=store, append=True)
    grown = store["data/all/scenes-text"]
    assert grown.token_layers == ("block.01",)
    assert grown.verify() == []
    np.testing.assert_array_equal(grown.tokens("block.01", 0, 64).values, old.values[: old.offsets[64]])


def test_skipped_pictures_have_no_token(tmp_path: Path) -> None:
    pairs = _captions(tmp_path, 70)
    (tmp_path / "data" / "5.png").write_bytes((tmp_path / "data" / "5.png").read_bytes()[:60])
    store = open_store(tmp_path / "store")
    extract([VIT], f"pairs:{pairs}", store=store, tokens=["block.01"])
    features = store["data/all/scenes-vit"]
    assert features.verify() == []
    tokens = features.tokens("block.01", 4, 7)
    assert (tokens.lengths > 0).tolist() == [True, False, True]
    assert not tokens.padded()[1][1].any()


def test_a_row_is_skipped_in_every_column_or_in_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image that can be read when tokens are asked for later, and could not before, and the reverse."""
    pairs, image = _captions(tmp_path, 70), PairsFile.image
    store = open_store(tmp_path / "store")

    def broken(self: PairsFile, index: int) -> Any:
        if index == 5:
            raise BadSampleError("s5", "the disk did not answer")
        return image(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(PairsFile, "image", broken)
        extract([VIT], f"pairs:{pairs}", store=store)
    extract([VIT], f"pairs:{pairs}", store=store, tokens=["block.01"])
    features = store["data/all/scenes-vit"]
    assert list(features.skipped) == [5]
    assert features.verify() == []
    other = open_store(tmp_path / "other")
    extract([VIT], f"pairs:{pairs}", store=other)
    monkeypatch.setattr(PairsFile, "image", broken)
    with pytest.raises(StructureError, match=r"s5 could be read when .* different \(the disk did not answer\)"):
        extract([VIT], f"pairs:{pairs}", store=other, tokens=["block.01"])
    assert other["data/all/scenes-vit"].is_complete


def test_what_has_no_tokens_is_told(with_tokens: Store, tmp_path: Path) -> None:
    with pytest.raises(StructureError, match=r"Unknown token layer 'blok\.02'.*block\.02"):
        extract([VIT], "scenes:70", store=tmp_path, tokens=["blok.02"])
    with pytest.raises(StructureError, match=r"block\.00.*--tokens block\.00"):
        with_tokens[key_of(with_tokens, "scenes-vit")].tokens("block.00")


def test_extracting_again_does_nothing(copied: Store) -> None:
    before = tree(Path(copied.url))
    events: list[Event] = []
    extract([VIT, TEXT], "scenes:150", store=copied, tokens=["block.02"], on_event=events.append)
    assert tree(Path(copied.url)) == before
    assert sum("in the store already" in event.text for event in events if isinstance(event, Note)) == 2


def _captions(folder: Path, count: int) -> Path:
    """A pairs file of real scenes as PNG files."""
    data, scenes = folder / "data", Scenes(split="train")
    data.mkdir(exist_ok=True)
    lines = []
    for index in range(count):
        scenes.image(index).save(data / f"{index}.png")
        lines.append({"id": f"s{index}", "image": f"{index}.png", "captions": scenes.item(index).captions[:2]})
    (data / "pairs.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    return data / "pairs.jsonl"


def test_the_code_of_the_format_page_runs(with_tokens: Store) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "store-format.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 6
    names: dict[str, object] = {"store": with_tokens.url}
    for block in blocks:
        exec(compile(block, "store-format.md", "exec"), names)
    assert names["values"].shape[:2] == names["mask"].shape  # type: ignore[attr-defined]
    assert names["first"].shape == names["pooled"].shape[1:]  # type: ignore[attr-defined]
    for features in map(with_tokens.__getitem__, with_tokens):
        recorded = [features.manifest.body(), *(column.to_json() for column in features.manifest.tokens)]
        recorded += [json.loads(marker.to_json()) for marker in features.markers().values()]
        for name in {name for body in recorded for name in body}:
            assert f"`{name}`" in page, f"{name} is not in the page"


@pytest.mark.parametrize("ending", ["npz", "safetensors", "parquet"])
def test_tokens_are_exported_with_their_rows(with_tokens: Store, tmp_path: Path, ending: str) -> None:
    features = with_tokens[key_of(with_tokens, "scenes-text")]
    expected, file = features.tokens("block.02"), tmp_path / f"out.{ending}"
    command = ["store", "export", features.key, str(file), "--layers", "block.00", "--tokens", "block.02"]
    assert run([*command, "--store", with_tokens.url]) == 0
    if ending == "parquet":
        table = pq.read_table(file)
        assert table.column_names == ["sample", "block.00", "block.02.tokens"]
        for row in (0, 7, 149):
            np.testing.assert_array_equal(np.array(table["block.02.tokens"][row].as_py(), "float16"), expected.row(row))
        return
    held = load_file(file) if ending == "safetensors" else np.load(file)
    np.testing.assert_array_equal(held["block.02.tokens"], expected.values)
    np.testing.assert_array_equal(held["block.02.offsets"], expected.offsets)


def test_the_store_s_commands_know_tokens(with_tokens: Store, capsys: pytest.CaptureFixture[str]) -> None:
    key = key_of(with_tokens, "scenes-vit")
    features = with_tokens[key]
    assert run(["store", "info", key, "--json", "--store", with_tokens.url]) == 0
    told = json.loads(capsys.readouterr().out)["tokens"]
    assert [column["name"] for column in told] == list(LAYERS)
    assert run(["store", "du", "--json", "--store", with_tokens.url]) == 0
    sizes = json.loads(capsys.readouterr().out)["bytes"]
    held = sum(column["bytes"] for column in told)
    assert held <= sizes[f"features/{key}/tokens"] <= 1.02 * held + 20_000
    assert features.tokens_to_xarray()["block.02"].dims == ("sample", "token", "feature")
    assert run(["store", "ls", "--json", "--store", with_tokens.url]) == 0
    assert {row["tokens"] for row in json.loads(capsys.readouterr().out)["features"]} == {2}
