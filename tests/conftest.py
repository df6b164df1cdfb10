"""Fixtures that every test folder shares."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from hypothesis import settings

from tests.warm import Warm

settings.register_profile("structure", deadline=None)  # on a busy machine an example may take any time
settings.load_profile("structure")

# As the command line does, before anything imports torch: threads that wait must not spin on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "3000")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# A shell has Ctrl-C ignored in what it starts in the background, and so would every command that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session", autouse=True)
def scripts_of_pages(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Scripts are kept in a folder of the tests."""
    from structure.pipeline.page import script_cache

    script_cache.PLACE = tmp_path_factory.mktemp("cache") / "structure-align"


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of golden numeric fixtures; the test skips where it is absent."""
    folder = SHARED / "golden"
    if not folder.is_dir():
        pytest.skip(f"golden fixtures are not at {folder}")
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real encoders and images; the test skips where it is absent."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip(f"real data are not at {folder}")
    return folder


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """Starts processes that have imported everything, to be killed or interrupted."""
    started = Warm()
    yield started
    started.close()


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Grows by each encoder on record that is loaded: whether its own code might run."""
    from structure.pipeline.extraction import stored_or_extracted as cached

    load, asked = cached.load_encoder, list[bool]()

    def spied(*given: Any, trust_remote_code: bool, **options: Any) -> Any:
        asked.append(trust_remote_code)
        return load(*given, trust_remote_code=trust_remote_code, **options)

    monkeypatch.setattr(cached, "load_encoder", spied)
    return asked


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """URL of an empty bucket of a moto server on loopback."""
    s3fs = pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    # What a server holds belongs to the process, not to the server: another module's bucket would still be there.
    urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST"), timeout=60).close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        s3fs.S3FileSystem().mkdir("bucket")
        yield "s3://bucket"
    for opened in s3fs.S3FileSystem._cache.values():
        opened.close_session(opened.loop, opened._s3)
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture
def imported(tmp_path: Path) -> str:
    """A store with imported features of 60 samples on both sides."""
    import numpy as np

    from structure.cli.main import run

    random = np.random.default_rng(0)
    shared = random.standard_normal((60, 6)).astype(np.float32)
    store = str(tmp_path / "store")
    for name, modality in (("vit", "vision"), ("bert", "text")):
        layers = {f"block.{i:02d}": (shared + i * random.standard_normal((60, 6))).astype(np.float32) for i in range(3)}
        np.savez(tmp_path / f"{name}.npz", **layers)
        command = ["import", str(tmp_path / f"{name}.npz"), "--model", name, "--modality", modality]
        assert run([*command, "--dataset", "cells", "--store", store, "--quiet"]) == 0
    return store
