"""BENCHMARKS.md hides nothing: what missed, what failed and what was not run all stand in it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from tests.benchmarks.listed import Bound, Script

FOLDER = Path(__file__).parent / "benchmarks"


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"structure_benchmarks_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    return loaded("__main__")


def record(*lines: dict[str, Any], ended: str = "well") -> dict[str, Any]:
    return {"ended": ended, "seconds": 3.0, "lines": list(lines), "source": "", "date": "2026-01-01", "load": 0.1}


def test_what_missed_failed_or_was_not_run_is_told(bench: ModuleType) -> None:
    held = Script("a", "Theme", "a peer", bounds=(Bound("ratio", least=0.5, of="read"),))
    failed, absent = Script("b", "B", "x"), Script("c", "C", "x")
    lines = {"measure": "read", "ratio": 0.4}, {"measure": "read|2", "ratio": 0.6}, {"measure": "else", "ratio": 0.1}
    page = bench.page([(held, record(*lines)), (failed, record(ended="failed with code 1: boom")), (absent, None)])
    assert "1 of 2 figures" in page
    assert "- a, read: ratio at least 0.5 missed" in page
    assert "- b: failed with code 1: boom" in page
    assert "- c: not run" in page
    assert "| read | ratio 0.4 | ratio at least 0.5 | **no** |" in page
    assert "| read\\|2 | ratio 0.6 | ratio at least 0.5 | yes |" in page
    assert "| else | ratio 0.1 |  |  |" in page


def test_a_script_is_run_to_its_end_or_stopped(bench: ModuleType) -> None:
    code = 'import sys; print(\'{"measure": "m", "ratio": 1}\'); print(\'noise\'); sys.exit(int(sys.argv[1]))'
    assert bench.finished([sys.executable, "-c", code, "0"], 60)[1] == "well"
    out, ended = bench.finished([sys.executable, "-c", code, "3"], 60)
    assert [bench.parsed(line) for line in out.splitlines()] == [{"measure": "m", "ratio": 1}, None]
    assert ended.startswith("failed with code 3")
    assert (
        "did not end within 0.005 minutes"
        in bench.finished([sys.executable, "-c", "import time; time.sleep(9)"], 0.3)[1]
    )


def test_every_script_of_the_folder_is_run(bench: ModuleType) -> None:
    there = {path.stem for path in FOLDER.glob("*.py")} - {"__main__", "listed", "processes", "bare_closed_forms"}
    there |= {path.parent.name for path in FOLDER.glob("*/__main__.py")}
    # Studies of accuracy, not of speed: all methods, method selection, the icons as data for it, R_S and layers again,
    # few pairs, three modalities, a sampled ranking against that of all rows; the rates of a plan.
    studies = {"methods", "auto", "icons", "retest", "forecast", "csls", "layer_concat", "few_pairs", "hub"}
    assert there - studies - {"scale", "sampled_ranking"} <= {script.name for script in bench.SCRIPTS}


def test_the_measures_of_a_gpu_run_on_a_cpu(
    bench: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu", "--tiny"])
    loaded("gpu").main()
    (script,) = (each for each in bench.SCRIPTS if each.name == "gpu")
    lines = [line for line in map(bench.parsed, capsys.readouterr().out.splitlines()) if line]
    held = {(bench.named(line), told) for line in lines for told, _ in bench.judged(script, line)}
    assert {name for name, _ in held} == {"extraction", "ranking", "training"}
    assert len(held) == 6, "each part is compared with its limit and against the CPU"
    assert [line["apart"] for line in lines] == [0, 0, 0]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_it_is_told_that_nothing_was_measured(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    with pytest.raises(SystemExit, match="unmeasured: no CUDA device"):
        loaded("gpu").main()
    (script,) = (each for each in bench.SCRIPTS if each.name == "gpu")
    assert bench.why_not(script).startswith("unmeasured: no CUDA device")
