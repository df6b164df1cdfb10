"""Out of memory: the batch is halved once for all, no row is lost; a row that does not fit alone is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from structure.pipeline.encoders import load_encoder
from structure.pipeline.encoders.encoder import Encoder, Hidden, Visitor
from structure.pipeline.encoders.layer import Layer
from structure.pipeline.extraction.fill import fill
from structure.pipeline.extraction.options import ExtractionOptions
from structure.pipeline.extraction.plan_feature_set import plan
from structure.pipeline.extraction.sample_index import open_rows
from structure.pipeline.extraction.within_memory import WithinMemory
from structure.pipeline.progress import Event, Note
from structure.pipeline.run_context import RunContext
from structure.store import StructureError, open_store


class Small(Encoder):
    """Numbers to vectors, on a device that holds `room` of them at once."""

    name, modality, layers, default_pooling = "small", "vision", (Layer("pooled", 2, "vector"),), "mean"

    def __init__(self, room: int, error: Exception | None = None) -> None:
        self.room, self.error = room, error or torch.OutOfMemoryError("CUDA out of memory")
        self.tried: list[int] = []

    def forward(self, examples: Sequence[Any], visit: Visitor, *, wanted: Any) -> None:
        self.tried.append(len(examples))
        if len(examples) > self.room:
            raise self.error
        visit("pooled", Hidden(torch.tensor([[float(x), -float(x)] for x in examples])))


@given(st.integers(1, 40), st.lists(st.integers(0, 40), max_size=5))
def test_every_row_comes_once_in_order_whatever_fits(room: int, sizes: list[int]) -> None:
    encoder, notes = Small(room), list[Event]()
    within = WithinMemory(encoder, on_event=notes.append)
    for size in sizes:
        seen: list[float] = []
        for part, pooled, _ in within.encode(range(size), pooling=["mean"], layers=["pooled"]):
            assert part.start == len(seen)
            seen += pooled["pooled"][:, 0].tolist()
        assert seen == list(map(float, range(size)))
    failures = [size for size in encoder.tried if size > room]
    assert failures == sorted(set(failures), reverse=True)  # what did not fit is never tried again
    assert len(notes) == len(failures)


def test_a_row_that_does_not_fit_alone_is_told() -> None:
    with pytest.raises(StructureError, match="does not fit the memory of its device even with one row at a time"):
        list(WithinMemory(Small(0)).encode([1, 2, 3], pooling=["mean"], layers=["pooled"]))


def test_a_cpu_that_runs_out_is_no_other_than_a_gpu() -> None:
    spent = RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried ..."
    )
    for error in (spent, MemoryError()):
        parts = list(WithinMemory(Small(2, error)).encode(range(5), pooling=["mean"], layers=["pooled"]))
        assert [(part.start, part.stop) for part, _, _ in parts] == [(0, 2), (2, 4), (4, 5)]
    with pytest.raises(RuntimeError, match="shapes"):
        list(WithinMemory(Small(2, RuntimeError("shapes"))).encode(range(5), pooling=["mean"], layers=["pooled"]))


def test_an_extraction_goes_on_in_smaller_batches_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, notes = load_encoder("bundled:scenes-text"), list[Event]()
    forward = type(encoder).forward

    def tight(self: Encoder, examples: Sequence[Any], visit: Visitor, *, wanted: Any) -> None:
        if len(examples) > 9:
            raise torch.OutOfMemoryError("CUDA out of memory")
        forward(self, examples, visit, wanted=wanted)

    found = []
    for name in ("roomy", "tight"):
        store = open_store(tmp_path / name)
        context = RunContext.of(store, device="cpu", on_event=notes.append)
        rows = open_rows(context, "scenes:70", split="train")
        chosen = plan(store, encoder, rows, ExtractionOptions(), spec="bundled:scenes-text", device="cpu")
        if name == "tight":
            monkeypatch.setattr(type(encoder), "forward", tight)
        features = fill(context, encoder, rows, chosen, ExtractionOptions())
        assert features.is_complete
        found.append(features.rows("pooled" if "pooled" in features.layers else features.layers[-1]))
    torch.testing.assert_close(*map(torch.from_numpy, found), rtol=1e-2, atol=1e-3)
    told = [event.text for event in notes if isinstance(event, Note) and "does not fit" in event.text]
    assert told == [
        "scenes-text: a batch of 32 does not fit the device; going on with 16.",
        "scenes-text: a batch of 16 does not fit the device; going on with 8.",
    ]
