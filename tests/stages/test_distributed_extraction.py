"""Extraction by several processes at once: shared shards, lost workers, a cluster; the bytes of a single one."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from structure.cli.main import run
from structure.pipeline import extract
from structure.pipeline.encoders.torch_encoder import TorchEncoder
from structure.pipeline.extraction import shard_tasks
from structure.pipeline.progress import Event, Note, Progress
from structure.store import FeatureSet, Store, StructureError, lease, open_store
from structure.store.lease import HeldError, Lease
from structure.store.shard_writer import lease_of

VIT, TEXT = "bundled:scenes-vit", "bundled:scenes-text"
HEAVY = [
    f"transformers.models.{name}" for name in ("vit.modeling_vit", "vit.image_processing_vit", "auto.processing_auto")
]


def tree(root: str | Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(Path(root).rglob("*")) if path.is_file()}


def test_tasks_give_the_bytes_of_one_process(scenes_store: Store, tmp_path: Path) -> None:
    events: list[Event] = []
    done = extract([VIT, TEXT], "scenes:240", store=tmp_path, map_fn=map, on_event=events.append)
    assert [extracted.row()["state"] for extracted in done] == ["complete", "complete"]
    assert tree(tmp_path) == tree(scenes_store.url)
    assert [e.done for e in events if isinstance(e, Progress) and e.what.startswith("extr")] == [64, 128, 192, 240] * 2
    extract([VIT], "scenes:240", store=tmp_path, map_fn=map, on_event=events.append)
    assert sum("in the store already" in event.text for event in events if isinstance(event, Note)) == 1
    assert tree(tmp_path) == tree(scenes_store.url)


def test_layers_that_tasks_find_too_large_are_kept_in_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same as without tasks; shards that were filled before the overflow was met are repaired."""
    encode = TorchEncoder.encode_tokens

    def huge(self: TorchEncoder, examples: Sequence[Any], *given: Any, **options: Any) -> Any:
        out, tokens = encode(self, examples, *given, **options)
        if len(examples) < 32:  # the last, short batch
            out["block.01"] = out["block.01"] * 1e6
        return out, tokens

    monkeypatch.setattr(TorchEncoder, "encode_tokens", huge)
    extract([VIT], "scenes:130", store=tmp_path / "one")
    extract([VIT], "scenes:130", store=tmp_path / "tasks", map_fn=map)
    (features,) = open_store(tmp_path / "tasks").feature_sets()
    assert features.manifest.column("block.01").dtype == "float32"
    assert tree(tmp_path / "tasks") == tree(tmp_path / "one")
    with pytest.raises(StructureError, match="is beyond float16's 65504"):
        extract([VIT], "scenes:130", store=tmp_path / "fp16", dtype="fp16", map_fn=map)


def test_a_worker_with_other_weights_is_refused(tmp_path: Path) -> None:
    def map_fn(function: Callable[[Any], Any], values: Sequence[Any]) -> Iterator[Any]:
        if function is shard_tasks.encode_shard:
            shard_tasks._kept[0].encoder.provenance = {**shard_tasks._kept[0].encoder.provenance, "weights": "other"}
        return map(function, values)

    with pytest.raises(StructureError, match="is another one on this worker .weights: planned '.*here 'other'"):
        extract([VIT], "scenes:70", store=tmp_path, map_fn=map_fn)


def test_two_extractors_of_one_feature_set_share_its_shards(tmp_path: Path) -> None:
    """Each shard is encoded by one of them, whoever comes first."""
    encoded: list[int] = []
    failed: list[Exception] = []
    both = threading.Barrier(2)

    def listen(event: Event) -> None:
        if isinstance(event, Progress) and event.what.startswith("extracting"):
            if event.done <= 64 and not both.broken:
                both.wait(60)  # neither is through before the other has begun
            encoded.append(event.done)

    def one() -> None:
        try:
            extract([VIT], "scenes:240", store=tmp_path, batch_size=64, on_event=listen)
        except HeldError:  # the other has the last shard
            pass
        except Exception as error:
            failed.append(error)
            both.abort()

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    (features,) = open_store(tmp_path).feature_sets()
    assert len(encoded) == len(features.manifest.shards)
    assert features.verify() == []


class Elsewhere(Lease):
    """A lease by a process of another machine."""

    def __init__(self, features: FeatureSet, shard: int) -> None:
        files, key = features.files, lease_of(features, features.manifest.shards[shard]).key
        super().__init__(files, key, what=features.key)
        self._body = json.dumps({**json.loads(self._body), "host": "elsewhere"}).encode()


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases expire in a second."""
    monkeypatch.setattr(lease, "EXPIRES", 1.0)


@pytest.mark.parametrize("map_fn", [None, map])
@pytest.mark.usefixtures("short")
def test_a_shard_of_a_machine_that_died_is_taken_when_its_claim_expires(
    copied: Store, scenes_store: Store, map_fn: Any
) -> None:
    features = copied[next(key for key in copied if key.endswith("scenes-vit"))]
    features.files.remove(f"{features.prefix}/done/000002.json")
    dead = Elsewhere(features, 2)
    assert features.files.create(dead.key, dead._body)
    extract([VIT], "scenes:240", store=copied, map_fn=map_fn)
    assert tree(copied.url) == tree(scenes_store.url)


@pytest.mark.parametrize("map_fn", [None, map])
@pytest.mark.usefixtures("short")
def test_a_shard_of_a_machine_that_lives_is_left_to_it(copied: Store, map_fn: Any) -> None:
    features = copied[next(key for key in copied if key.endswith("scenes-vit"))]
    features.files.remove(f"{features.prefix}/done/000002.json")
    began = time.monotonic()
    with Elsewhere(features, 2), pytest.raises(HeldError, match="is being written by process .* on elsewhere"):
        extract([VIT], "scenes:240", store=copied, map_fn=map_fn)
    assert time.monotonic() - began < 60
    assert not features.files.exists(f"{features.prefix}/done/000002.json")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Three worker processes that take one task each, forked from one that has imported what they need; they compute
    with as many threads as this one, since another number moves last bits."""
    distributed = pytest.importorskip("distributed")
    import dask

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["distributed", "structure.pipeline.extraction.shard_tasks", *HEAVY])
    monkeypatch.setattr(distributed.utils, "_forkserver_preload_set", True)
    threads = str(torch.get_num_threads())
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    settings = {
        "nanny.pre-spawn-environ.OMP_NUM_THREADS": threads,
        "worker.daemon": False,
        "worker.multiprocessing-method": "forkserver",
        "scheduler.idle-timeout": None,
    }
    with (
        dask.config.set({f"distributed.{name}": value for name, value in settings.items()}),
        distributed.LocalCluster(
            n_workers=3, threads_per_worker=1, dashboard_address=":0", host="127.0.0.1", silence_logs=50
        ) as made,
    ):
        yield made


def test_a_cluster_of_which_a_worker_is_killed_gives_the_bytes_of_one_process(
    cluster: Any, scenes_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    killed: list[int] = []

    def kill() -> None:
        """kill -9 of a process that holds a lease."""
        while not killed:
            for path in store.glob("features/*/*/*/claims/*.json"):
                try:
                    killed.append(json.loads(path.read_bytes())["pid"])
                except (OSError, ValueError):
                    continue
                os.kill(killed[0], signal.SIGKILL)
                return
            time.sleep(0.002)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    command = ["extract", "--model", VIT, "--model", TEXT, "--dataset", "scenes:240", "--store", str(store), "--json"]
    assert run([*command, "--scheduler", cluster.scheduler_address]) == 0
    told = capsys.readouterr()
    assert [row["state"] for row in json.loads(told.out)["features"]] == ["complete", "complete"]
    assert "Encoding on the CPUs of tcp://" in told.err
    assert killed[0] != os.getpid()
    assert tree(store) == tree(scenes_store.url)
    assert [fault for features in open_store(store).feature_sets() for fault in features.verify()] == []
    assert run([*command, "--scheduler", cluster.scheduler_address, "--device", "cuda"]) == 1
    assert re.search(r"no worker .* declares a GPU. Start one .* --resources GPU=1", capsys.readouterr().err)


def test_a_cluster_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["extract", "--model", VIT, "--dataset", "scenes:70", "--store", str(tmp_path)]
    assert run([*command, "--scheduler", "nowhere"]) == 1
    assert "No dask scheduler answers at nowhere" in capsys.readouterr().err
    assert run([*command, "--scheduler", "tcp://127.0.0.1:1", "--dry-run"]) == 2
