"""Every export has a README that says what is in it, how it is loaded, what it was trained on, and under what terms."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import yaml

from structure.cli.main import app, run
from structure.pipeline import align, export, load_aligner
from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.encoders.licences import licence_of
from structure.pipeline.exports.export_format import ExportFormat, ExportSubject, Written
from structure.pipeline.exports.readme import readme
from structure.pipeline.exports.registry import EXPORT_FORMATS
from structure.pipeline.results import Result, keep_results
from structure.store import Store, StructureError
from structure.store.errors import UsageError
from structure.store.without_warnings import without_warnings

NEEDED = {"onnx": "onnxruntime", "sentence-transformers": "sentence_transformers", "open-clip": "open_clip"}


@pytest.mark.parametrize("name", sorted(EXPORT_FORMATS))
def test_the_readme_of_every_format_loads_it(
    name: str, clip_store: Store, scenes_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its Python runs as it stands, five lines at most; every file in the folder is named with what it is."""
    if name in NEEDED:
        pytest.importorskip(NEEDED[name])
    store, aligner = (clip_store, "clip-ridge") if name == "open-clip" else (scenes_store, "ridge")
    if name == "open-clip":
        align("pooled,pooled", store=store, options=TrainingOptions(method="ridge"), name=aligner)
    labels = {"classes": ("circle", "square"), "templates": ("a {c}",)} if EXPORT_FORMATS[name].takes_labels else {}
    done = export(aligner, tmp_path / "out", format=name, store=store, **labels)  # type: ignore[arg-type]
    text = (tmp_path / "out" / "README.md").read_text()
    (code,) = [part.partition("\n```")[0] for part in text.split("```python\n")[1:]]
    assert len(code.splitlines()) <= 5
    monkeypatch.chdir(tmp_path / "out")
    before = set(os.listdir())
    with without_warnings():
        exec(compile(code, "README.md", "exec"), {})
    assert set(os.listdir()) - {"__pycache__"} == before
    table = text.partition("## What is in the folder")[2].partition("## ")[0].replace("\\", "")
    for file in done.files:
        if file != "README.md":
            (line,) = [line for line in table.splitlines() if line.startswith(f"| {file} |")]
            assert len(line.split("|")[2].strip()) > 3, file
    for part in ("training pairs", "validation", "95 % interval", "Licences", "the data", "unknown", "numpy"):
        assert part in text
    assert str(tmp_path) not in text
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["license"] == "unknown"


def test_evaluations_stand_with_their_intervals(scenes_store: Store, tmp_path: Path) -> None:
    run_of = load_aligner(scenes_store.folder("aligners", "csa")).metadata["run"]
    numbers = {"value": 0.25, "low": 0.125, "high": 0.5, "n": 40, "chance": 0.1}
    for run_name, dataset in ((run_of, "scenes"), ("an older run", "other")):
        result = Result("csa", "my|suite", dataset, "t", "m_1", **numbers, provenance={"aligner_run": run_name})
        keep_results(scenes_store.folder("results", "csa"), [result])
    export("csa", tmp_path / "out", format="safetensors", store=scenes_store)
    text = (tmp_path / "out" / "README.md").read_text()
    assert "| my\\|suite | scenes | m\\_1 | 0.2500 | 0.1250 to 0.5000 | 40 | 0.1000 |" in text
    assert "| other |" not in text
    (line,) = [line for line in text.splitlines() if line.startswith("| test | image\\_retrieval\\_recall@1 |")]
    value, interval = line.split("|")[3].strip(), line.split("|")[4].strip()
    low, high = map(float, interval.split(" to "))
    assert low <= float(value) <= high
    assert high - low > 0.1  # six pairs say little


def test_text_from_anywhere_is_escaped(scenes_store: Store) -> None:
    class Toy(ExportFormat):
        about, contents = "toy", {}

        def write(self, subject: ExportSubject, folder: Path) -> Written:
            raise NotImplementedError

    aligner = load_aligner(scenes_store.folder("aligners", "ridge"))
    nasty = 'a|b\n# <script>alert(1)</script> `x` [y](javascript:1) ---\n"quoted"'
    records = {side: {**aligner.metadata["encoders"][side], "spec": nasty} for side in ("vision", "text")}
    for record in records.values():
        record["identity"] = {**record["identity"], "source": nasty}
    hostile = aligner.describe(encoders=records, data={"dataset": nasty}, versions={nasty: nasty})
    text = readme(ExportSubject(nasty, hostile), Toy(), "toy", Written({}, "pass"), ["file"])
    assert "<script" not in text.replace("\\<", "")
    assert "](javascript" not in text.replace("\\]", "")
    head, _, body = text.partition("---\n")[2].partition("\n---\n")
    assert yaml.safe_load(head)["license_name"] == "the vision encoder: unknown; the text encoder: unknown"
    rows = [line for line in body.splitlines() if line.startswith("| vision |")]
    assert len(rows) == 1
    assert rows[0].replace("\\|", "").count("|") == 6


def test_licences_that_are_known(tmp_path: Path) -> None:
    assert licence_of("bundled:scenes-vit") == licence_of("efficientnet-lite0") == "Apache-2.0"
    assert licence_of("hf:BAAI/bge-small-en-v1.5") == "MIT"
    assert licence_of("clip-vit-base-patch32") == licence_of("") == licence_of(f"hf:{tmp_path}/none") == "unknown"
    (tmp_path / "config.json").write_text("{}")
    np.savez(tmp_path / "x.npz")
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "README.md").write_text("---\nlanguage: en\nlicense: 'bsd-3-clause'\n---\n# hello\nlicense: mit\n")
    assert licence_of(f"hf:{tmp_path}") == "bsd-3-clause"
    (tmp_path / "README.md").write_text("license: mit\n")
    assert licence_of(f"hf:{tmp_path}") == "unknown"


def test_formats_of_the_command_line_are_those_of_the_registry(
    scenes_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StructureError, match="Did you mean bundle"):
        export("ridge", tmp_path / "out", format="bundel", store=scenes_store)
    with pytest.raises(UsageError, match="no place for prompts of labels.*use bundle"):
        export("ridge", tmp_path / "out", format="onnx", store=scenes_store, classes=("a", "b"))
    with pytest.raises(StructureError, match=r"--prompt 1.*no \{c\}"):
        export("ridge", tmp_path / "out", format="bundle", store=scenes_store, templates=("a photo",))
    there = ["--store", scenes_store.url]
    assert run(["export", "ridge", str(tmp_path / "out"), *there]) == 2
    assert "safetensors, open-clip, clip-benchmark" in capsys.readouterr().err
    assert run(["export", "ridge", str(tmp_path / "out"), "--bundle", "--format", "onnx", *there]) == 2
    assert "Pass one of them" in capsys.readouterr().err
    assert run(["export", "ridge", str(tmp_path / "out"), "--format", "safetensors", "--json", *there]) == 0
    assert '"README.md"' in capsys.readouterr().out
    assert run(["export", "--help"]) == 0
    shown = capsys.readouterr().out
    for name in EXPORT_FORMATS:
        assert f"{name}: " in shown
    assert app
