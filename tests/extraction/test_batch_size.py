"""The batch size: tried upwards on a GPU, fixed on a CPU, decided once and saved with the feature set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from structure.pipeline.encoders import load_encoder
from structure.pipeline.encoders.encoder import Encoder, Visitor
from structure.pipeline.extraction import batch_size as batch_size
from structure.pipeline.extraction.batch_size import GAIN, batch_of, climb
from structure.pipeline.extraction.fill import fill
from structure.pipeline.extraction.options import ExtractionOptions
from structure.pipeline.extraction.plan_feature_set import Plan, plan
from structure.pipeline.extraction.sample_index import SampleIndex, open_rows
from structure.pipeline.progress import Event, Note, Progress
from structure.pipeline.run_context import RunContext
from structure.store import Store, open_store

TEXT = "bundled:scenes-text"


@given(st.lists(st.floats(1, 1000), min_size=1, max_size=8), st.integers(0, 8), st.integers(1, 9))
def test_the_size_grows_as_long_as_it_pays_and_fits(rates: list[float], room: int, steps: int) -> None:
    tried = []

    def rate(size: int) -> float:
        step = (size // 4).bit_length() - 1
        tried.append(step)
        if step >= room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return rates[step]

    found = (climb(4, 4 * 2 ** (min(steps, len(rates)) - 1), rate) // 4).bit_length() - 1
    assert all(rates[step] >= GAIN * rates[step - 1] for step in range(1, found + 1))
    if found + 1 < min(steps, len(rates)):
        assert room <= found + 1 or rates[found + 1] < GAIN * rates[found]
    assert tried == list(range(len(tried)))


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder(TEXT)


@pytest.fixture
def device(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A GPU for which a batch costs as much as 20 rows, and each row one; it holds `room` of them."""
    place = SimpleNamespace(now=0.0, room=1000, sizes=[])
    forward = type(encoder).forward

    def timed(self: Encoder, examples: Sequence[Any], visit: Visitor, *, wanted: Any) -> None:
        if len(examples) > place.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        forward(self, examples, visit, wanted=wanted)
        place.now += 20 + len(examples)
        place.sizes.append(len(examples))

    monkeypatch.setattr(type(encoder), "forward", timed)
    monkeypatch.setattr(batch_size, "time", SimpleNamespace(perf_counter=lambda: place.now))
    monkeypatch.setattr(batch_size, "FIRST", {"cuda": {"text": 4}, "cpu": {"text": 8}})
    monkeypatch.setattr(batch_size, "WORTH", 10)
    return place


def planned(store: Store, encoder: Encoder, rows: SampleIndex, device: str, **options: Any) -> Plan:
    return plan(store, encoder, rows, ExtractionOptions(**options), spec=TEXT, device=device)


def test_a_gpu_is_tried_and_a_cpu_is_not(tmp_path: Path, encoder: Encoder, device: SimpleNamespace) -> None:
    store = open_store(tmp_path / "store")
    rows = open_rows(RunContext.of(store, data_root=tmp_path), "scenes:150", split="train")
    assert planned(store, encoder, rows, "cpu").batch == 8
    assert device.now == 0
    assert planned(store, encoder, rows, "cuda:0").batch == 64  # a shard
    assert planned(store, encoder, rows, "cuda:0", batch=5).batch == 5
    device.room = 20
    assert planned(store, encoder, rows, "cuda:0").batch == 16
    few = open_rows(RunContext.of(tmp_path / "few"), "scenes:30", split="train")
    assert planned(store, encoder, few, "cuda:0").batch == 4  # too few for trying to pay


def test_the_size_is_decided_once(tmp_path: Path, encoder: Encoder, device: SimpleNamespace) -> None:
    store, notes = open_store(tmp_path / "store"), list[Event]()
    rows = open_rows(RunContext.of(store, data_root=tmp_path), "scenes:150", split="train")
    first = planned(store, encoder, rows, "cuda:0")
    device.room = 20
    second = planned(store, encoder, rows, "cuda:0")  # another process, before the set is begun
    assert (first.batch, second.batch) == (64, 16)

    def stopped(event: Event) -> None:
        if isinstance(event, Progress) and event.done >= 128:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill(RunContext.of(store, device="cpu", on_event=stopped), encoder, rows, second, ExtractionOptions())
    device.room = 1000
    again = planned(store, encoder, rows, "cuda:0", batch=7)
    assert (again.batch, again.pending_rows > 0) == (16, True)
    device.sizes.clear()
    # The plan of whoever came later gives way to the record, and so does an option.
    features = fill(
        RunContext.of(store, device="cpu", on_event=notes.append), encoder, rows, first, ExtractionOptions(batch=7)
    )
    assert features.is_complete
    assert batch_of(features.manifest) == max(device.sizes) == 16
    told = [event.text for event in notes if isinstance(event, Note)]
    assert any("goes on in batches of 16 rows, as it began, not of 7" in text for text in told)
