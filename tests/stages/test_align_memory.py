"""Training in bounded memory: from shards as from memory."""

from __future__ import annotations

import pytest
import torch

from structure.pipeline import align
from structure.pipeline.aligners import batches
from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.progress import Note
from structure.store import Store, StructureError


@pytest.mark.parametrize("method", ["linear", "mlp"])
def test_the_same_weights_from_memory_and_from_shards(
    copied: Store, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(batches, "BLOCK_ROWS", 16)
    monkeypatch.setattr(batches, "POOL_BYTES", 20_000)
    options = TrainingOptions(method=method, batch=16, epochs=3, learning_rate=1e-3, dim=16, device="cpu")
    told: list[str] = []
    kept = []
    for name, memory in (("memory", None), ("shards", 100_000)):
        done = align(
            "last",
            store=copied,
            options=options,
            name=name,
            memory=memory,
            on_event=lambda event: told.append(event.text) if isinstance(event, Note) else None,
        )
        kept.append(done.trained)
    assert sum("--memory allows 100,000" in text for text in told) == 1
    first, second = (
        {**trained.aligner.vision.state_dict(), **{f"t.{k}": v for k, v in trained.aligner.text.state_dict().items()}}
        for trained in kept
    )
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert kept[0].metrics == kept[1].metrics


def test_memory_that_holds_no_window_is_told(copied: Store) -> None:
    options = TrainingOptions(method="linear", batch=16, epochs=1, dim=16, device="cpu")
    with pytest.raises(StructureError, match="two windows.*20,000 are allowed. Raise --memory"):
        align("last", store=copied, options=options, memory=20_000)
