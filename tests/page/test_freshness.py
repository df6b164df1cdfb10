"""A page that would come out the same is left as it is; any other, and a damaged one, is made anew."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from structure.pipeline import import_features, rank_layers, report
from structure.pipeline.page import freshness, whole
from structure.store import SampleItem, Samples, Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store, random = open_store(tmp_path / "store"), np.random.default_rng(0)
    ids = [f"i{number}" for number in range(30)]
    store.put_samples(Samples.build("things", "train", [SampleItem(name, (f"a {name}",)) for name in ids]))
    for model, modality in (("eye", "vision"), ("ear", "text")):
        values = {"block.0": random.normal(size=(30, 4)).astype(np.float32)}
        np.savez(tmp_path / "f.npz", ids=np.array(ids), **values)
        import_features(tmp_path / "f.npz", model=model, modality=modality, dataset="things", store=store)  # type: ignore[arg-type]
    return store


def test_a_page_is_made_again_only_where_it_would_say_something_else(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: list[str] = []
    true = whole.whole_page
    monkeypatch.setattr(whole, "whole_page", lambda *given: (pages.append("made"), true(*given))[1])

    def times_made(**options: object) -> int:
        pages.clear()
        report(store=store, **options)  # type: ignore[arg-type]
        return len(pages)

    def rank(**options: int) -> None:
        rank_layers(store=store, k=3, calibrate=0, repeats=0, forecast=False, **options)

    assert (times_made(), times_made()) == (1, 0)
    rank()
    assert (times_made(), times_made()) == (1, 0)
    rank(seed=1)  # another ranking of the same name
    assert times_made() == 1
    assert (times_made(out=tmp_path / "page.html"), times_made(out=tmp_path / "page.html")) == (1, 0)
    assert times_made(files=tmp_path / "files") == 1
    store.files.write("embeddings/one/values.bin", b"x" * 2**20)  # the page says what each part takes on the disk
    assert (times_made(), times_made()) == (1, 0)
    written = store.files.read("report.html")
    for damaged in (written[:-40], written.replace(b"things", b"thungs", 1), b"", written[:200]):
        store.files.write("report.html", damaged)
        assert (times_made(), times_made()) == (1, 0)


def test_an_older_file_of_the_code_that_is_put_back_makes_the_page_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest time of all files does not change where an older file takes the place of a newer one."""
    before = sorted(freshness._code())
    stat = os.stat

    def older(path: Any, **given: Any) -> Any:
        found = stat(path, **given)
        if not str(path).endswith("freshness.py"):
            return found
        return SimpleNamespace(st_size=found.st_size, st_mtime_ns=found.st_mtime_ns - 10**12)

    monkeypatch.setattr(freshness.os, "stat", older)
    assert sorted(freshness._code()) != before
