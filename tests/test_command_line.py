"""The command line: exit codes, one JSON document on stdout, messages that say what to type."""

from __future__ import annotations

import errno
import json
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from rich.markup import render

from structure.cli import main
from structure.cli.choices import byte_count
from structure.cli.main import run
from structure.pipeline.aligners.registry import ALIGNERS
from structure.store.errors import StructureError, UsageError
from tests.warm import Warm


def test_imported_features_go_through_without_any_encoder(imported: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(["rank-layers", "--store", imported, "--json", "--calibrate", "20"]) == 0
    ranking = json.loads(capsys.readouterr().out)
    assert ranking["best"]["vision_layer"] == "block.00"
    assert ranking["best"]["text_layer"] == "block.00"
    options = ["--method", "linear", "--dim", "4", "--epochs", "5", "--lr", "0.01", "--name", "a"]
    assert run(["align", "--layers", "auto", "--store", imported, "--json", *options]) == 0
    assert json.loads(capsys.readouterr().out)["layers"] == {"vision": "block.00", "text": "block.00"}
    assert run(["store", "ls", "--store", imported, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["features"]) == 2
    assert run(["report", "--store", imported, "--json"]) == 0
    assert Path(json.loads(capsys.readouterr().out)["report"]).is_file()


def test_an_aligner_that_is_there_is_shown_as_a_new_one(imported: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["align", "--layers", "last", "--method", "ridge", "--store", imported]
    capsys.readouterr()
    tables = [(run(asked), capsys.readouterr().out) for _ in range(2)]
    assert tables[0] == tables[1]
    assert tables[0][0] == 0
    assert tables[0][1].index("vision layer") < tables[0][1].index("text layer")


def test_store_commands(imported: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["store", "verify", "--store", imported]) == 0
    assert run(["store", "info", "cells/train/vit", "--store", imported, "--json"]) == 0
    capsys.readouterr()
    assert run(["store", "du", "--store", imported, "--json"]) == 0
    sizes = json.loads(capsys.readouterr().out)
    assert sizes["total"] == sum(path.stat().st_size for path in Path(imported).rglob("*") if path.is_file())
    for name in ("out.npz", "out.safetensors", "out.parquet"):
        assert run(["store", "export", "cells/train/vit", str(tmp_path / name), "--store", imported]) == 0
    with np.load(tmp_path / "out.npz") as exported, np.load(tmp_path / "vit.npz") as original:
        np.testing.assert_array_equal(exported["block.01"], original["block.01"])
    chunk = Path(imported) / "features/cells/train/vit/block.00/c/0/0"
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"x")
    capsys.readouterr()
    assert run(["store", "verify", "--store", imported]) == 1
    assert "block.00" in capsys.readouterr().out


def test_gc_says_what_would_go_and_removes_only_with_yes(imported: str, capsys: pytest.CaptureFixture[str]) -> None:
    stray = Path(imported) / "features/cells/train/vit/.manifest.json.0123abcd"
    stray.write_bytes(b"half")
    old = Path(imported) / "neighbours/cells/train/vit/aaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb"
    old.mkdir(parents=True)
    (old / "block.00.npz").write_bytes(b"old")
    capsys.readouterr()
    assert run(["store", "gc", "--store", imported, "--dry-run"]) == 0
    capsys.readouterr()
    assert run(["store", "gc", "--store", imported, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)["orphans"]
    assert [row["why"] for row in told] == [
        "a write that was interrupted",
        "neighbours of earlier values of cells/train/vit",
    ]
    assert stray.exists()
    assert run(["store", "gc", "--yes", "--store", imported]) == 0
    assert not stray.exists()
    assert not old.exists()
    assert run(["store", "verify", "--store", imported]) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["extract", "--model", "dinov2", "--dataset", "scenes", "--dtpe", "fp16"], 2, "No such option"),
        (["extract", "--model", "dinov2"], 2, "Missing option"),
        (["extract", "--model", "dinov2", "--dataset", "scenes", "--dtype", "fp61"], 2, "Did you mean fp16?"),
        (
            ["extract", "--model", "dinov2", "--dataset", "scenes", "--captions", "frist"],
            2,
            "neither a number nor one of first, all",
        ),
        (["extract", "--model", "dinov3-larg", "--dataset", "scenes"], 1, "dinov3-large"),
        (["rank-layers"], 1, "has no features"),
        (["align", "--method", "linea"], 1, "linear"),
        (["align", "--preset", "papr"], 1, "paper"),
        (["eval", "--suite", "clip-benchmrk"], 1, "clip-benchmark"),
        (["store", "info", "a/b/c"], 1, "Unknown feature set 'a/b/c'"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_mistakes_are_answered_with_a_sentence_and_an_exit_code(
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == code
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_traceback_is_shown_under_vv_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-vv", "rank-layers", "--store", str(tmp_path)]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_lists_of_what_can_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (
        ["models"],
        ["models", "dinov2"],
        ["datasets"],
        ["datasets", "coco"],
        ["suites"],
        ["suites", "scenes"],
    ):
        capsys.readouterr()
        assert run([*command, "--json"]) == 0
        json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("text", "count"), [("512MB", 512 * 10**6), ("2GB", 2 * 10**9), ("1.5GiB", int(1.5 * 2**30)), ("4096", 4096)]
)
def test_sizes(text: str, count: int) -> None:
    assert byte_count("--memory", text) == count


def test_a_size_that_is_none() -> None:
    with pytest.raises(UsageError, match="'lots' is not a size"):
        byte_count("--memory", "lots")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_what_is_kept_and_how_to_go_on(
    tmp_path: Path, number: signal.Signals, warm: Warm
) -> None:
    command = ["extract", "--store", str(tmp_path), "--model", "bundled:scenes-vit", "--dataset", "scenes:4000"]
    process = warm.start("from structure.cli.main import main; main()", *command, stderr=tmp_path / "told")
    while not list(tmp_path.glob("features/*/*/*/claims/*.json")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait() == 130
    told = (tmp_path / "told").read_text()
    assert "Stopped. What was finished is saved; run the same command again" in told
    assert "Traceback" not in told
    assert list(tmp_path.glob("features/*/*/*/claims/*.json")) == []


def test_recipes_are_listed_planned_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["run", "--json"]) == 0
    names = [row["recipe"] for row in json.loads(capsys.readouterr().out)["recipes"]]
    assert {"demo", "figure2-scenes", "own-pairs", "paper-table2"} <= set(names)
    place = ["--store", str(tmp_path / "store"), "--json"]
    assert run(["status", "demo", "--set", "align.seeds=[1]", *place]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {step["state"] for step in told["steps"]} == {"pending"}
    assert not told["running"]
    assert run(["status", "demo", "--set", "align.seeds=[1]", *place[:2]]) == 0
    assert "align.seeds=[1])" in "".join(capsys.readouterr().out.split("\n"))
    assert run(["status", *place]) == 0
    assert json.loads(capsys.readouterr().out)["features"] == []
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert run(["run", "own-pairs", "--dry-run", *place]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(step["state"], step["seconds"]) for step in told["steps"][:2]] == [("pending", None)] * 2
    assert {"extract/dinov2-base", "extract/mpnet"} <= {entry["what"] for entry in told["absent"]}
    assert run(["run", "demoo", *place]) == 1
    assert "demo" in capsys.readouterr().err
    assert run(["run", "demo", "--set", "align.epochs=1", *place]) == 1
    assert "unknown key 'epochs'" in capsys.readouterr().err


def test_data_with_errors_leave_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["datasets", "check", "scenes:6", "--split", "train", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"]
    (tmp_path / "a.png").write_bytes(b"no picture")
    (tmp_path / "my.jsonl").write_text('{"image": "a.png", "caption": "a"}\n')
    assert run(["datasets", "check", f"pairs:{tmp_path / 'my.jsonl'}", "--split", "all"]) == 1
    assert "not an image" in capsys.readouterr().out
    rows = [{"image": f"{name}.png", "caption": name} for name in "abcdefgh"]
    (tmp_path / "my.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert run(["datasets", "check", f"pairs:{tmp_path / 'my.jsonl'}", "--split", "all"]) == 1
    told = capsys.readouterr().out
    assert [told.count(f"all: {name}.png") for name in "abcdef"] == [1, 1, 1, 1, 1, 0], "an error shows several"
    assert "and 3 more" in told


def test_a_kind_of_dataset_is_shown_and_a_bare_path_is_put_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("pairs", "pairs:my.jsonl"):
        assert run(["datasets", name]) == 0
        assert "pairs:FILE.jsonl" in capsys.readouterr().out
    assert run(["datasets", str(tmp_path)]) == 1
    assert "type folder:" in capsys.readouterr().err


def test_a_report_of_nothing_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", "--store", str(tmp_path / "store")]) == 0
    assert "is empty, so the page only says what to type" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["models", "hf:{}"], ["datasets", "check", "scenes:3", "--model", "hf:{}"]])
def test_a_model_with_code_of_its_own_is_loaded_where_that_is_said(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    words = [word.format(tmp_path) for word in command]
    assert run(words) == 1
    assert "brings its own code, which is not run unasked" in capsys.readouterr().err
    assert run([*words, "--trust-remote-code"]) == 1  # there is no such code
    assert "not run unasked" not in capsys.readouterr().err


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives large blocks back")
def test_the_commands_keep_memory_that_the_next_batch_needs() -> None:
    """New pages cost as much as the arithmetic of a batch of pictures."""
    code = """
import resource
from structure.cli.kept_memory import keep_memory
keep_memory()
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(b'x') * 2**26
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(told.stdout) < 1000  # of the 16,384 that 64 MiB take


def test_memory_that_does_not_suffice_is_told_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(error: Exception) -> Any:
        def app(**_: object) -> None:
            raise error

        return app

    for text in ("DefaultCPUAllocator: can't allocate memory: you tried 8 bytes", "CUDA out of memory. Tried 8 GiB"):
        monkeypatch.setattr(main, "app", fails(RuntimeError(text)))
        assert run(["models"]) == 1
        assert f"not enough memory: {text}. Less at a time" in capsys.readouterr().err
    monkeypatch.setattr(main, "app", fails(RuntimeError("shapes")))
    with pytest.raises(RuntimeError, match="shapes"):
        run(["models"])


@pytest.mark.parametrize("error", [RuntimeError("pool INTERNAL ASSERT FAILED"), StructureError("It cannot be built.")])
def test_whatever_a_library_makes_of_a_signal_is_an_interruption(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def app(**_: object) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise error from None

    monkeypatch.setattr(main, "app", app)
    assert run(["models"]) == 130
    assert "run the same command again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (RuntimeError("can't start new thread"), "no more threads: .*ulimit -v.*ulimit -u.*run the same command again"),
        (OSError(errno.EMFILE, "Too many open files", "x"), "Too many open files: x. .*ulimit -n 4096"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device. .*saved. Make space"),
        (OSError(errno.EROFS, "Read-only file system", "x"), "Read-only file system: x. Name another place"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "Cannot allocate memory. .*--memory"),
    ],
)
def test_what_the_machine_refuses_is_told_with_what_to_do(
    error: Exception, advice: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def app(**_: object) -> None:
        raise error

    monkeypatch.setattr(main, "app", app)
    assert run(["models"]) == 1
    assert re.search(advice, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["extract", "--model", "dinov3-larg", "--dataset", "scenes"], "dinov3-large"),
        (["extract", "--model", "dinov2", "--dataset", "scene"], "scenes"),
        (["extract", "--model", "dinov2", "--dataset", "scenes", "--layers", "blok.*"], "blok.*"),
        (["rank-layers", "--metric", "mutual-kn"], "mutual"),
        (["align", "--method", "linea"], "linear"),
        (["align", "--layers", "block.00,blok.01"], "block.01"),
        (["align", "--layers", "block.00"], "two layers"),
        (["align", "--name", "../evil"], "Write --name evil"),
        (["eval", "--suite", "clip-benchmrk"], "clip-benchmark"),
        (["eval", "--suite", "clip-benchmark", "--datasets", "cifar1"], "cifar10"),
    ],
)
def test_a_wrong_name_is_told_without_importing_torch(arguments: list[str], message: str, imported: str) -> None:
    code = (
        "import sys; from structure.cli.main import run; code = run(sys.argv[1:]);"
        "assert not {'torch', 'transformers', 'timm'} & set(sys.modules); sys.exit(code)"
    )
    command = [sys.executable, "-c", code, *arguments, "--store", imported]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_help_says_what_each_method_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["align", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert all(f"{name}: {ALIGNERS[name].about}" in told for name in ALIGNERS)


def test_help_loses_no_word_to_the_markup_of_its_terminal() -> None:
    def helps(command: Any) -> Iterator[str]:
        yield from (each.help for each in (command, *command.params) if getattr(each, "help", None))
        for each in getattr(command, "commands", {}).values():
            yield from helps(each)

    texts = list(helps(typer.main.get_command(main.app)))
    assert len(texts) > 100
    assert [text for text in texts if render(text).plain != text] == []


def files_of(folder: Path) -> dict[str, int]:
    """Every file and folder with the time of its last change, in nanoseconds."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


DRY_RUNS = [
    ["extract", "--model", "bundled:scenes-vit", "--dataset", "scenes", "--limit", "8"],
    ["rank-layers", "--calibrate", "5"],
    ["align", "--layers", "last", "--method", "csa"],
    ["eval", "--suite", "scenes"],
    ["run", "demo"],
]


@pytest.mark.parametrize("arguments", DRY_RUNS, ids=lambda arguments: arguments[0])
def test_a_dry_run_writes_nothing(arguments: list[str], imported: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(["align", "--store", imported, "--layers", "last", "--method", "csa", "--quiet"]) == 0
    folder = Path(imported).parent
    monkeypatch.chdir(folder)
    before = files_of(folder)
    assert run([*arguments, "--store", imported, "--dry-run"]) == 0
    assert files_of(folder) == before


@pytest.mark.parametrize("arguments", DRY_RUNS, ids=lambda arguments: arguments[0])
def test_a_dry_run_creates_no_store(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = run([*arguments, "--store", str(tmp_path / "absent" / "store"), "--dry-run"])
    assert code == (0 if arguments[0] in ("extract", "run") else 1)  # the others need what is not there
    assert list(tmp_path.iterdir()) == []
