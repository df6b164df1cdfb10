"""The numbers of the package clip-benchmark and ours, on the same copies with the same open_clip model, in one run."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from structure.pipeline import align, evaluate, extract
from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.datasets import export_webdataset, open_dataset
from structure.store import Store, open_store

benchmark = pytest.importorskip("clip_benchmark", reason="the package clip-benchmark is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # theirs, and those of what they import

DESCRIBED = {"daisy": ["white petals"], "roses": ["thorns", "a red rose in a vase", "many petals"]}
DATASETS = {"scenes": "zeroshot_classification", "flowers": "zeroshot_classification", "coco": "zeroshot_retrieval"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small open_clip model from its config, seed 0."""
    from open_clip.model import CLIP
    from safetensors.torch import save_file

    place = tmp_path_factory.mktemp("models") / "small"
    place.mkdir()
    config: dict[str, Any] = {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
    }
    torch.manual_seed(0)
    weights = CLIP(**json.loads(json.dumps(config))).state_dict()
    save_file({name: value.contiguous() for name, value in weights.items()}, place / "open_clip_model.safetensors")
    described = {"model_cfg": config, "preprocess_cfg": {"size": 32}}
    (place / "open_clip_config.json").write_text(json.dumps(described))
    return place


@pytest.fixture(scope="module")
def copies(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Local copies, written by our export: scenes by colour, flowers by class, COCO photos with their captions."""
    root = tmp_path_factory.mktemp("copies")
    sources = {
        "scenes": (open_dataset("scenes:70", split="test", data_root=root), "colour"),
        "flowers": (open_dataset(f"folder:{real_data / 'flowers5'}", data_root=root), None),
        "coco": (open_dataset(f"pairs:{real_data / 'coco_val2017_captions' / 'pairs.jsonl'}", data_root=root), None),
    }
    for name, (dataset, task) in sources.items():
        export_webdataset(dataset, root / f"wds_{name}", task=task, shard_items=60)
    templates = root / "wds_flowers" / "zeroshot_classification_templates.txt"
    templates.write_text("a photo of a {c}.\n{c} in bloom\nthe colour of a {c}\n")
    return root


@pytest.fixture(scope="module")
def theirs(folder: Path, copies: Path) -> dict[str, dict[str, float]]:
    """What clip_benchmark's own code gives, in float32 on the CPU, encoding everything."""
    import open_clip
    from clip_benchmark.datasets.builder import build_wds_dataset
    from clip_benchmark.metrics import zeroshot_classification, zeroshot_retrieval

    def accuracy(output: torch.Tensor, target: torch.Tensor, topk: tuple[int, ...] = (1,)) -> list[float]:
        """Theirs, but for `float()` of an array with one element, which NumPy 2.4 refuses."""
        correct = output.topk(max(topk), 1, True, True)[1].t()
        correct = correct.eq(target.view(1, -1).expand_as(correct))
        return [float(correct[:k].reshape(-1).float().sum().item()) / len(target) for k in topk]

    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zeroshot_classification, "accuracy", accuracy)
        for name, task in DATASETS.items():
            data = build_wds_dataset(f"wds/{name}", transform, data_dir=str(copies / f"wds_{name}"))
            loader = torch.utils.data.DataLoader(data.batched(64), batch_size=None, num_workers=0)
            if task == "zeroshot_retrieval":
                found[name] = zeroshot_retrieval.evaluate(
                    model, loader, tokenizer, "cpu", amp=False, recall_k_list=[1, 5, 10]
                )
            else:
                loader.dataset.classes = data.classes = (copies / f"wds_{name}" / "classnames.txt").read_text().split()
                templates = (copies / f"wds_{name}" / "zeroshot_classification_templates.txt").read_text().splitlines()
                asked = {name: templates}
                if name == "flowers":
                    asked["flowers described"] = {c: DESCRIBED.get(c, [f"it is {c}"]) for c in data.classes}
                for key, texts in asked.items():
                    found[key] = zeroshot_classification.evaluate(
                        model, loader, tokenizer, data.classes, texts, "cpu", amp=False
                    )
    return found


@pytest.fixture(scope="module")
def ours(folder: Path, copies: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Any]:
    """Both towers extracted once in float32, an aligner that changes nothing, our evaluation."""
    store = open_store(tmp_path_factory.mktemp("parity") / "store")
    towers = [f"open_clip:local-dir:{folder}#{tower}" for tower in ("visual", "text")]
    extract(
        towers, "clip-benchmark:wds/coco", store=store, data_root=copies, dtype="fp32", amp="off", layers=("pooled",)
    )
    align("pooled,pooled", store=store, options=TrainingOptions(method="identity"), name="clip")
    suite = copies / "parity.yaml"
    suite.write_text(
        "name: parity\nversion: 1\ndefaults: {split: test, prompts: clip-benchmark}\ntasks:\n"
        "  - {dataset: 'clip-benchmark:wds/scenes', kind: zeroshot_classification, metric: acc1}\n"
        "  - {dataset: 'clip-benchmark:wds/flowers', kind: zeroshot_classification, metric: acc1}\n"
        "  - {dataset: 'clip-benchmark:wds/coco', kind: zeroshot_retrieval, metric: image_retrieval_recall@5}\n"
    )
    return store, evaluate(str(suite), store=store, data_root=copies, device="cpu")


@pytest.mark.parametrize("name", list(DATASETS))
def test_every_number_is_theirs(name: str, theirs: Mapping[str, Mapping[str, float]], ours: tuple[Store, Any]) -> None:
    mine = {row.metric: row.value for row in ours[1].results if row.dataset == f"wds/{name}"}
    for metric, value in theirs[name].items():
        assert mine[metric] == pytest.approx(value, abs=1e-7), metric  # their recalls are float32 means


def test_their_command_reads_our_json(ours: tuple[Store, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from clip_benchmark.cli import main

    store, done = ours
    table = tmp_path / "benchmark.csv"
    files = sorted(map(str, Path(store.url, "results", "clip").glob("*.json")))
    monkeypatch.setattr(sys, "argv", ["clip_benchmark", "build", *files, "--output", str(table)])
    main()
    rows = {row["dataset"]: row for row in csv.DictReader(table.open())}
    assert set(rows) == {f"wds/{name}" for name in DATASETS}
    for row in done.results:
        assert float(rows[row.dataset][row.metric]) == row.value
    assert rows["wds/coco"]["model_fullname"] == "clip parity"


def test_texts_of_each_class_give_their_numbers(
    theirs: Mapping[str, Mapping[str, float]], ours: tuple[Store, Any], copies: Path
) -> None:
    classes = (copies / "wds_flowers" / "classnames.txt").read_text().split()
    assert set(DESCRIBED) < set(classes)
    described = {name: DESCRIBED.get(name, [f"it is {name}"]) for name in classes}
    mine = copies / "described.yaml"
    mine.write_text(f"name: described\nversion: 1\ndatasets: {{flowers: {{descriptions: {json.dumps(described)}}}}}\n")
    done = evaluate(
        str(copies / "parity.yaml"),
        store=ours[0],
        datasets=("wds/flowers",),
        prompts=str(mine),
        data_root=copies,
        device="cpu",
    )
    numbers = {row.metric: row.value for row in done.results}
    for metric, value in theirs["flowers described"].items():
        assert numbers[metric] == pytest.approx(value, abs=1e-7), metric
    assert theirs["flowers described"] != theirs["flowers"]
