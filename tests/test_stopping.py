"""Ctrl-C while everything is still imported, packages that are not installed, files that cannot be read: in words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from structure.cli.extras import extra_of, lacking
from structure.cli.main import run
from structure.cli.start import main
from structure.cli.stopping import WORDS

INTERRUPTED_IMPORT = """
import os, signal, sys
from importlib.abc import MetaPathFinder

class Interrupting(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            os.kill(os.getpid(), signal.{number})

sys.meta_path.insert(0, Interrupting())
sys.argv = ["structure", "store", "ls", "--store", {store!r}]
from structure.cli.start import main
main()
"""


@pytest.mark.parametrize(
    ("name", "number"), [("typer", "SIGINT"), ("structure.cli.main", "SIGINT"), ("pyarrow", "SIGTERM")]
)
def test_a_signal_during_an_import_is_answered_in_words(name: str, number: str, tmp_path: Path) -> None:
    code = INTERRUPTED_IMPORT.format(name=name, number=number, store=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 130, done.stderr
    assert done.stderr.strip() == WORDS.strip()
    assert done.stdout == ""


def test_the_command_starts_there() -> None:
    assert main.__module__ == "structure.cli.start"
    pyproject = Path(__file__).resolve().parents[1] / "pyproject.toml"
    assert 'structure = "structure.cli.start:main"' in pyproject.read_text()


@pytest.mark.parametrize(
    ("package", "extra"),
    [
        ("soundfile", "audio"),
        ("datasets", "hub"),
        ("distributed", "distributed"),
        ("s3fs", "s3"),
        ("onnxscript", "onnx"),
        ("tensorboardX", "tensorboard"),
        ("clip_benchmark", "benchmark"),
        ("bitsandbytes", "quantized"),
        ("torch", ""),
    ],
)
def test_every_package_that_may_be_lacking_is_brought_by_an_extra(package: str, extra: str) -> None:
    assert extra_of(package) == extra
    told = lacking(ModuleNotFoundError("No module named ...", name=f"{package}.inner"))
    assert told.endswith(f"pip install 'structure-align[{extra}]'" if extra else f"pip install {package}")


def test_a_lacking_package_is_told_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    assert run(["store", "ls", "--store", "s3://nowhere/at-all"]) == 1
    told = capsys.readouterr().err
    assert "structure-align[s3]" in told
    assert "Traceback" not in told


def test_a_place_that_cannot_be_written_is_told_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    store = str(tmp_path / "store")
    assert run(["report", "--store", store, "--out", str(tmp_path / "file" / "report.html")]) == 1
    told = capsys.readouterr().err
    assert str(tmp_path / "file") in told
    assert "Traceback" not in told
