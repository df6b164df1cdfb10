"""How many files of the product a shard passes between the encoder and the disk: what a reader has to open."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import structure.store
from structure.pipeline import extract
from structure.pipeline.extraction.within_memory import WithinMemory
from structure.store import files
from structure.store.completion_markers import CompletionMarkers

ROOT = Path(structure.store.__file__).resolve().parents[1]
MOST = 17


@pytest.mark.parametrize("tokens", [(), ("block.03",)], ids=["pooled", "tokens"])
def test_a_shard_passes_few_files(tokens: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file with a function that runs after the forward pass and before the marker is durable, in any thread."""
    passed: set[str] = set()
    on_the_way = threading.Event()

    def note(frame: FrameType, event: str, _: Any) -> None:
        file = frame.f_code.co_filename
        if event == "call" and on_the_way.is_set() and file.startswith((f"{ROOT}/store/", f"{ROOT}/pipeline/")):
            passed.add(file.removeprefix(f"{ROOT}/"))

    encode, write = WithinMemory.encode, CompletionMarkers.write

    def encoded(self: WithinMemory, *given: Any, **options: Any) -> Any:
        for part in encode(self, *given, **options):
            on_the_way.set()
            threading.setprofile(note)
            sys.setprofile(note)
            yield part

    def written(self: CompletionMarkers, *given: Any) -> None:
        write(self, *given)
        on_the_way.clear()

    monkeypatch.setattr(WithinMemory, "encode", encoded)
    monkeypatch.setattr(CompletionMarkers, "write", written)
    monkeypatch.setattr(files, "_write_threads", files._WriteThreads())  # only threads that start now are seen
    before = sys.getprofile()
    try:
        extract(["bundled:scenes-vit"], "scenes:64", store=tmp_path, batch_size=64, tokens=tokens)
    finally:
        sys.setprofile(before)
        threading.setprofile(None)
    assert {"store/column_writer.py", "store/local_files.py", "store/completion_markers.py"} <= passed
    assert len(passed) <= MOST, "\n".join(sorted(passed))
