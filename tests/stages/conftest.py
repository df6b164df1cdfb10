"""A store with the bundled encoders over a few scenes, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from structure.pipeline import extract
from structure.store import Store, open_store

MODELS = ["bundled:scenes-vit", "bundled:scenes-text"]


@pytest.fixture(scope="session")
def scenes_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Train scenes, every layer of both bundled encoders, first captions; read-only for tests."""
    store = open_store(tmp_path_factory.mktemp("scenes") / "store")
    extract(MODELS, "scenes:240", store=store)
    return store


@pytest.fixture
def copied(scenes_store: Store, tmp_path: Path) -> Store:
    """A copy of it that a test may change."""
    import shutil

    shutil.copytree(scenes_store.url, tmp_path / "store")
    return open_store(tmp_path / "store")
