"""Ctrl-C while everything is still imported, packages that are not installed, files that cannot be read: in words."""

from __future__ import annotations

import gc
import re
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest

from structure.cli import collector
from structure.cli.extras import CALLED, NAME, lacking
from structure.cli.main import run
from structure.cli.start import main
from structure.cli.stopping import WORDS
from structure.cli.terminal import Terminal
from structure.pipeline.installed_package import extra_of

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


DROPPED = """
import signal, sys, time, weakref
from structure.cli import stopping

class Thing:
    pass

stopping.stop_by_exception()
sys.unraisablehook = stopping.raise_again
failing = Thing()
seen = weakref.ref(failing, lambda _: 1 / 0)
del failing
thing = Thing()
seen = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGTERM))
try:
    del thing  # the callback's exception is dropped here
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_a_signal_is_not_lost_in_a_callback_whose_exceptions_python_drops() -> None:
    done = subprocess.run([sys.executable, "-c", DROPPED], capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stdout) == (0, "interrupted\n")
    assert "KeyboardInterrupt" not in done.stderr
    assert "ZeroDivisionError" in done.stderr, "another fault of a callback is told"


HALF_MADE = """
import signal, sys
from structure.cli import stopping

class Loop:
    def __init__(self, interrupt):
        if interrupt:
            signal.raise_signal(signal.SIGINT)
        self.socket = None

    def __del__(self):
        self.socket

async def work(loop):
    pass

stopping.stop_by_exception()
sys.unraisablehook = stopping.raise_again
Loop.__new__(Loop)
try:
    work(Loop(interrupt=True))
except KeyboardInterrupt:
    work(None)
    print("interrupted")
"""


def test_what_a_signal_left_half_made_says_nothing_more() -> None:
    """As zarr's event loop does where the signal comes while it is made, and its coroutine that nobody awaits then."""
    done = subprocess.run([sys.executable, "-c", HALF_MADE], capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stdout) == (0, "interrupted\n")
    assert done.stderr.count("AttributeError") == 1, "before the signal it is told"
    assert "never awaited" not in done.stderr


LEAVING = """
import atexit, sys, threading
atexit.register(lambda: print("registered", sys.unraisablehook.__name__))
threading.Thread(target=lambda: (threading.main_thread().join(), print("thread"))).start()
sys.argv = ["structure", *{words!r}]
from structure.cli.start import main
main()
"""


@pytest.mark.parametrize(("words", "number"), [(["--version"], 0), (["nonsense"], 2), (["store", "ls"], 0)])
def test_the_end_waits_for_threads_and_for_what_is_registered(words: list[str], number: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", LEAVING.format(words=words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
    assert done.returncode == number, done.stderr
    assert done.stdout.splitlines()[-2:] == ["thread", "registered raise_again"]
    assert "Traceback" not in done.stderr


def test_garbage_is_collected_as_usual_once_work_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    collector.seldom()
    try:
        assert gc.get_threshold()[0] == collector.OBJECTS
        with Terminal(as_json=False, quiet=True).working():
            assert gc.get_threshold() == collector.USUAL
    finally:
        collector.usual()


ASIDE = """
import gc, sys
from structure.cli import collector
sys.path.insert(0, {folder!r})
collector.seldom()
sys.meta_path[0].library = "large"
before = len(sys.meta_path)
import small
assert gc.isenabled() and not gc.get_freeze_count()
try:
    import large
except ZeroDivisionError:
    print("failed", gc.isenabled(), gc.get_freeze_count())
import large
print(large.enabled, gc.isenabled(), gc.get_freeze_count() > 0, before - len(sys.meta_path))
"""


@pytest.mark.parametrize(
    ("first", "told"), [("", ["False True True 1"]), ("1 / 0", ["failed True 0", "True True False 1"])]
)
def test_what_a_large_library_leaves_is_never_looked_through(first: str, told: list[str], tmp_path: Path) -> None:
    """Not while it is imported either; one that cannot be imported leaves all as it was."""
    flag = f"import os\nif not os.path.exists({str(tmp_path / 'tried')!r}):\n"
    flag += f"    open({str(tmp_path / 'tried')!r}, 'w').close()\n    {first or 'pass'}\n"
    (tmp_path / "large.py").write_text(f"{flag}import gc\nenabled = gc.isenabled()\n")
    (tmp_path / "small.py").write_text("")
    command = [sys.executable, "-c", ASIDE.format(folder=str(tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.splitlines() == told, done.stderr


def test_output_that_cannot_be_written_at_the_end_is_no_success() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no device that is always full")
    code = "import sys; from structure.cli.start import leave; sys.stdout = open('/dev/full', 'w'); print(1); leave(0)"
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, timeout=120, check=False)
    assert done.returncode == 1
    assert b"the output could not be written: [Errno 28] No space left on device" in done.stderr


def test_the_command_starts_there() -> None:
    assert main.__module__ == "structure.cli.start"
    pyproject = Path(__file__).resolve().parents[1] / "pyproject.toml"
    assert 'structure = "structure.cli.start:main"' in pyproject.read_text()


@pytest.mark.parametrize(
    ("package", "extra"),
    [
        ("soundfile", "audio"),
        ("av", "video"),
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


def test_every_package_that_is_needed_is_named_as_an_installer_knows_it() -> None:
    """PIL is pillow: `pip install PIL` finds nothing."""
    needed = {_plain(re.split(r"[^\w.-]", line)[0]) for line in requires(NAME) or [] if "extra" not in line}
    top = Path(__file__).resolve().parents[1]
    sources = [file.read_text() for part in ("cli", "pipeline", "store") for file in (top / part).rglob("*.py")]
    imported = {name for text in sources for name in re.findall(r"^ *(?:import|from) (\w+)", text, re.MULTILINE)}
    checked = 0
    for package in sorted(imported & packages_distributions().keys()):
        names = {_plain(name) for name in packages_distributions()[package]}
        if names & needed:
            told = lacking(ModuleNotFoundError("No module named ...", name=package))
            assert _plain(told.rpartition(" ")[2]) in names, package
            checked += 1
    assert checked > 15


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


@pytest.mark.parametrize(
    ("package", "command"),
    [
        ("timm", ["extract", "--model", "timm:vit_tiny_patch16_224", "--dataset", "scenes:4"]),
        ("safetensors", ["import", "a.safetensors", "--model", "m", "--modality", "text", "--dataset", "d"]),
        ("PIL", ["datasets", "check", "scenes:4"]),
    ],
)
def test_a_package_of_the_installation_that_is_gone_is_told_with_what_installs_it(
    package: str, command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"x" * 20)
    blocked = (
        "import sys\n"
        "class Gone:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] == {package!r}:\n"
        "            raise ModuleNotFoundError('No module named ' + name, name=name)\n"
        "sys.meta_path.insert(0, Gone())\n"
        "from structure.cli.main import run\n"
        "sys.exit(run(sys.argv[1:]))\n"
    )
    done = subprocess.run([sys.executable, "-c", blocked, *command], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert f"pip install {CALLED.get(package, package)}" in done.stderr
    assert "Traceback" not in done.stderr


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
