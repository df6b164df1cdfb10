"""The command line over an S3 server on loopback: every stage, every `store` subcommand, and what the bucket holds."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from structure.cli.main import run
from structure.pipeline.datasets.scenes import Scenes
from structure.store import open_store

MODELS = ["--model", "bundled:scenes-vit", "--model", "bundled:scenes-text", "--layers", "block.03"]


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs a command and gives its JSON document."""

    def command(*words: str, code: int = 0) -> Any:
        capsys.readouterr()
        assert run([*words, "--json"]) == code, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    return command


def write_pairs(folder: Path, count: int) -> str:
    """A pairs file of real scenes as PNG files."""
    folder.mkdir(exist_ok=True)
    scenes, lines = Scenes(split="train"), []
    for index in range(count):
        scenes.image(index).save(folder / f"{index}.png")
        lines.append({"id": f"s{index}", "image": f"{index}.png", "captions": scenes.item(index).captions[:2]})
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    return f"pairs:{folder / 'pairs.jsonl'}"


def test_the_whole_command_line_over_s3(bucket: str, tmp_path: Path, told: Callable[..., Any]) -> None:
    at = ["--store", f"{bucket}/{secrets.token_hex(4)}", "--quiet"]
    look = at[:2]
    extract = ["extract", *MODELS, "--tokens", "block.03", *at]
    pairs = write_pairs(tmp_path / "data", 70)
    done = told(*extract, "--dataset", pairs)
    assert [row["state"] for row in done["features"]] == ["complete", "complete"]
    pairs = write_pairs(tmp_path / "data", 90)
    grown = told(*extract, "--dataset", pairs, "--append")
    assert [row["rows"] for row in grown["features"]] == [90, 90]
    vit, text = "data/all/scenes-vit", "data/all/scenes-text"

    assert {row["features"]: row["state"] for row in told("store", "ls", *look)["features"]} == {
        vit: "complete",
        text: "complete",
    }
    info = told("store", "info", vit, *look)
    assert (info["rows"], [column["name"] for column in info["tokens"]]) == (90, ["block.03"])
    assert told("store", "verify", *look)["faults"] == {vit: [], text: []}
    sizes = told("store", "du", *look)
    assert sizes["bytes"][f"features/{vit}/tokens"] > 90 * 2 * info["tokens"][0]["width"]

    files = open_store(at[1]).files
    chunks = [key for key in files.keys(f"features/{vit}") if "/c/" in key and "block" in key]
    good = {key: files.read(key) for key in (chunks[0], chunks[-1], f"features/{vit}/done/000001.json")}
    files.write(chunks[0], good[chunks[0]][:-9] + b"damaged!!")
    files.remove(chunks[-1])
    files.remove(f"features/{vit}/done/000001.json")
    assert len(told("store", "verify", vit, *look, code=1)["faults"][vit]) >= 2
    assert told("store", "repair", vit, *at)["rows"] > 0
    assert {key: files.read(key) for key in good} == good

    local = open_store(tmp_path / "local")
    assert run(["extract", *MODELS, "--tokens", "block.03", "--dataset", pairs, "--store", local.url, "--quiet"]) == 0
    told("store", "export", vit, str(tmp_path / "out.npz"), "--tokens", "block.03", *look)
    with np.load(tmp_path / "out.npz") as held:
        np.testing.assert_array_equal(held["block.03"], local[vit].rows("block.03"))
        np.testing.assert_array_equal(held["block.03.tokens"], local[vit].tokens("block.03").values)

    ranking = told("rank-layers", "--k", "5", "--calibrate", "5", "--repeats", "0", *at)
    assert ranking["rows"] > 50
    aligner = told(
        "align", "--method", "linear", "--layers", "auto", "--dim", "8", "--epochs", "3", "--name", "a", *at
    )["aligner"]
    suite = tmp_path / "mine.yaml"
    suite.write_text(
        f"name: mine\nversion: 1\ndefaults: {{dataset: '{pairs}', split: all, metric: image_retrieval_recall@5}}\n"
        "tasks:\n  - {kind: zeroshot_retrieval, prompts: null}\n"
    )
    results = told("eval", "--suite", str(suite), "--aligner", aligner, *at)
    assert results["encoder_passes"] == 1  # retrieval asks for every caption
    assert {row["aligner"] for row in results["results"]} == {"a"}

    files.write("neighbours/data/all/gone/0123/block.00.npz", b"of features that are not there")
    (orphan,) = told("store", "gc", "--yes", *look)["orphans"]
    assert orphan["what"] == "neighbours/data/all/gone/0123/"
    assert told("store", "gc", *look)["orphans"] == []
    assert [key for key in files.keys("") if "/claims/" in key] == []


def test_the_bucket_takes_the_rule_of_the_page(bucket: str) -> None:
    """Parts of uploads that were never finished go after two days."""
    import boto3

    page = (Path(__file__).resolve().parents[2] / "docs" / "scaling.md").read_text()
    (rule,) = re.findall(r"^```json\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    client = boto3.client("s3")
    client.put_bucket_lifecycle_configuration(Bucket="bucket", LifecycleConfiguration=json.loads(rule))
    (kept,) = client.get_bucket_lifecycle_configuration(Bucket="bucket")["Rules"]
    assert kept["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 2}
