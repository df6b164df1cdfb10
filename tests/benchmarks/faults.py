"""A fault campaign: kill, flip, truncate, delete, fill the disk, race; after each, the store must be as without it.

    python tests/benchmarks/faults.py [--kills 200 --damages 300 --full-disks 10 --races 50 --clusters 5]

Prints one JSON line a campaign; `wrong` counts what was not as it should be. Two encoders, pooled layers and tokens.
Children are forked from one process that has imported torch, so that a kill costs milliseconds. That process computes
nothing itself: a thread pool does not survive a fork. Exit code 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
import transformers.models.auto.modeling_auto
import transformers.models.bert.modeling_bert
import transformers.models.vit.image_processing_vit
import transformers.models.vit.modeling_vit  # noqa: F401  here, lest every child import them for seconds

from structure.pipeline.datasets.scenes import Scenes
from structure.pipeline.progress import Event, Progress
from structure.pipeline.stages.extract import extract
from structure.pipeline.stages.repair import repair
from structure.store import StructureError, open_store
from structure.store.lease import HeldError

MODELS = ["bundled:scenes-vit", "bundled:scenes-text"]
SMALL, LARGE = 70, 140
HELD, FULL, REFUSED = 3, 4, 5
"""Exit codes of children: another one writes, the disk is full, the disk would not do."""

Tree = dict[str, bytes]
Work = Callable[[], object]


class Ground:
    """Pairs of scenes as files, and what stores of them must hold."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        scenes = Scenes(split="train")
        lines = []
        for i in range(LARGE):
            scenes.image(i).save(folder / f"{i}.png")
            lines.append(json.dumps({"id": f"s{i}", "image": f"{i}.png", "captions": scenes.item(i).captions}))
        self.lines = lines
        store = folder / "reference"
        began = time.perf_counter()
        finish(child(self.job(SMALL, store)))
        self.seconds = time.perf_counter() - began
        print(json.dumps({"campaign": "ground", "seconds of a run": round(self.seconds, 2)}), flush=True)
        self.small = tree(store)
        finish(child(self.job(LARGE, store)))
        self.large = tree(store)

    def job(self, rows: int, store: Path, **options: object) -> Work:
        """Extraction of the first rows, which appends to a store of fewer."""
        (self.folder / "pairs.jsonl").write_text("\n".join(self.lines[:rows]))
        spec = f"pairs:{self.folder / 'pairs.jsonl'}"
        return partial(extract, MODELS, spec, store=store, append=True, workers=0, tokens=["block.03"], **options)

    def expected(self, rows: int) -> Tree:
        return self.small if rows == SMALL else self.large


def tree(root: Path) -> Tree:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def repair_all(store: Path) -> None:
    for key in open_store(store):
        repair(key, store=store)


def faults_of(store: Path) -> list[str]:
    return [str(fault) for features in open_store(store).feature_sets() for fault in features.verify()]


def child(work: Work) -> int:
    """Run in a forked process; its number."""
    pid = os.fork()
    if pid:
        return pid
    code = 0
    try:
        work()
    except HeldError:
        code = HELD
    except StructureError as error:
        code = FULL if "is full" in str(error) else REFUSED if "are reserved" in str(error) else 1
        if code == 1:
            traceback.print_exc()
    except BaseException:
        traceback.print_exc()
        code = 1
    os._exit(code)


def finish(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def damage(path: Path, kind: str, draws: random.Random) -> None:
    """Flip one bit, cut the file anywhere, or remove it."""
    if kind == "delete":
        path.unlink()
        return
    data = bytearray(path.read_bytes())
    if kind == "truncate":
        path.write_bytes(data[: draws.randrange(len(data))])
    else:
        data[draws.randrange(len(data))] ^= 1 << draws.randrange(8)
        path.write_bytes(data)


KINDS = ("flip", "truncate", "delete")


def kills(count: int, ground: Ground, draws: random.Random) -> dict[str, object]:
    """kill -9 at random moments of extract, append and repair; each is resumed, and the bytes are as without it."""
    landed = dict.fromkeys(("extract", "append", "repair"), 0)
    rounds = wrong = 0
    while sum(landed.values()) < count:
        rounds += 1
        store = ground.folder / "killed"
        for what, rows in (("extract", SMALL), ("append", LARGE), ("repair", LARGE)):
            if what == "repair":
                # Both copies of a manifest are never damaged at once: that cannot be repaired, and it says so.
                names = [n for n in tree(store) if n.startswith("features/") and not n.endswith("manifest.json")]
                for name in draws.sample(names, 6):
                    damage(store / name, draws.choice(KINDS), draws)
            work = partial(repair_all, store) if what == "repair" else ground.job(rows, store)
            while sum(landed.values()) < count and draws.random() < 0.8:  # else it comes to its end
                pid = child(work)
                time.sleep(draws.uniform(0.0, ground.seconds))
                os.kill(pid, signal.SIGKILL)
                if finish(pid) != -signal.SIGKILL:
                    break
                landed[what] += 1
            code, faults = finish(child(work)), faults_of(store)
            if code or faults or tree(store) != ground.expected(rows):
                wrong += 1
                print(json.dumps({"round": rounds, "what": what, "code": code, "faults": faults[:3]}), flush=True)
        shutil.rmtree(store)
    return {"campaign": "kill -9", "kills": sum(landed.values()), **landed, "rounds": rounds, "wrong": wrong}


def damages(count: int, ground: Ground, draws: random.Random) -> dict[str, object]:
    """Single-bit flips, truncations and deletions of every kind of file; all must be seen and repaired."""
    store, good = ground.folder / "damaged", ground.small
    finish(child(ground.job(SMALL, store)))
    names = sorted(good)
    tokens = [name for name in names if "/tokens/" in name]
    unseen, unmended = [], []
    tried = dict.fromkeys(KINDS, 0)
    for number in range(count):
        name = draws.choice(tokens if number % 2 else names)
        kind = KINDS[number % 3]
        damage(store / name, kind, draws)
        tried[kind] += 1
        try:
            seen = any(open_store(store)[key].verify() for key in open_store(store))
        except StructureError:
            seen = True
        if not seen:
            unseen.append((kind, name))
        finish(child(partial(repair_all, store)))
        if tree(store) != good:
            unmended.append((kind, name))
            for other, data in good.items():
                (store / other).write_bytes(data)
    return {
        "campaign": "damage",
        "tried": count,
        **tried,
        "unseen": len(unseen),
        "unmended": len(unmended),
        "first of them": [*unseen, *unmended][:5],
        "wrong": len(unseen) + len(unmended),
    }


@contextmanager
def small_disk(folder: Path) -> Iterator[str]:
    """A file system of 96 MiB in that folder; yields why there is none, if it may not be mounted."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except OSError as error:
        yield str(error)
        return
    if done.returncode:
        yield done.stderr.strip()
        return
    try:
        yield ""
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def full_disks(count: int, ground: Ground, draws: random.Random) -> dict[str, object]:
    """Somebody fills the disk while a run goes on: it says so, and the same command goes on when there is space."""
    disk = ground.folder / "disk"
    codes: list[int] = []
    wrong = 0
    with small_disk(disk) as why:
        if why:
            return {"campaign": "full disk", "skipped": f"no file system could be mounted: {why}", "wrong": 0}
        filler, store = disk / "filler", disk / "store"
        for _ in range(count):
            left = draws.randrange(8)  # batches that are encoded before

            def fill(event: Event) -> None:
                nonlocal left
                if isinstance(event, Progress) and event.what.startswith("extracting"):
                    left -= 1
                    if left < 0:
                        with filler.open("ab", buffering=0) as file:
                            file.truncate(0)
                            while space := shutil.disk_usage(disk).free:
                                file.write(bytes(min(space, 1 << 20)))

            codes.append(finish(child(ground.job(SMALL, store, on_event=fill))))
            refused = finish(child(ground.job(SMALL, store)))  # the disk is still full
            filler.unlink(missing_ok=True)
            resumed = finish(child(ground.job(SMALL, store)))
            right = codes[-1] in (FULL, 0) and refused in (FULL, REFUSED, 0) and resumed == 0
            if not right or tree(store) != ground.small or faults_of(store):
                wrong += 1
            shutil.rmtree(store)
    return {"campaign": "full disk", "runs": count, "stopped": codes.count(FULL), "wrong": wrong}


def races(count: int, ground: Ground) -> dict[str, object]:
    """Two writers start at once; the bytes are those of one."""
    wrong = refused = 0
    for _ in range(count):
        store = ground.folder / "race"
        work = ground.job(SMALL, store)
        codes = [finish(pid) for pid in [child(work) for _ in range(2)]]
        refused += codes.count(HELD)
        if finish(child(work)) or set(codes) - {0, HELD} or tree(store) != ground.small or faults_of(store):
            wrong += 1
        shutil.rmtree(store)
    return {"campaign": "race", "races": count, "left to the other": refused, "wrong": wrong}


def clusters(count: int, ground: Ground) -> dict[str, object]:
    """A LocalCluster of three workers, one of which is killed while it writes a shard; the bytes are those of one."""
    outcome = ground.folder / "cluster.json"
    if code := finish(child(partial(_clusters, count, ground, outcome))):
        return {"campaign": "cluster", "wrong": count, "exit": code}
    return {"campaign": "cluster", **json.loads(outcome.read_text())}


def _clusters(count: int, ground: Ground, outcome: Path) -> None:
    import dask
    import distributed

    from structure.cli.cluster import map_on

    os.environ["OMP_NUM_THREADS"] = "1"  # as here: another number of threads moves last bits
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["distributed", "structure.pipeline.extraction.shard_tasks"])
    distributed.utils._forkserver_preload_set = True
    settings = {"worker.daemon": False, "worker.multiprocessing-method": "forkserver"}
    killed, wrong = [], 0
    with (
        dask.config.set({f"distributed.{name}": value for name, value in settings.items()}),
        distributed.LocalCluster(
            n_workers=3, threads_per_worker=1, dashboard_address=":0", host="127.0.0.1", silence_logs=50
        ) as cluster,
        map_on(cluster.scheduler_address, device="cpu", say=lambda text: None) as (spread, _),
    ):
        for number in range(count):
            store = ground.folder / f"cluster{number}"
            killer = threading.Thread(target=_kill_a_writer, args=(store, killed, number), daemon=True)
            killer.start()
            ground.job(SMALL, store, map_fn=spread)()
            if tree(store) != ground.small or faults_of(store):
                wrong += 1
            killer.join()
            shutil.rmtree(store)
    outcome.write_text(json.dumps({"runs": count, "killed": len(killed), "wrong": wrong}))


def _kill_a_writer(store: Path, killed: list[int], number: int) -> None:
    """kill -9 of a process that holds a lease, as soon as there is one."""
    while len(killed) <= number:
        for path in store.glob("features/*/*/*/claims/*.json"):
            try:
                pid = json.loads(path.read_bytes())["pid"]
            except (OSError, ValueError):
                continue
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
            return
        time.sleep(0.001)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--damages", type=int, default=300)
    parser.add_argument("--full-disks", type=int, default=10)
    parser.add_argument("--races", type=int, default=50)
    parser.add_argument("--clusters", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    draws = random.Random(options.seed)
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        ground = Ground(Path(folder))
        campaigns: list[tuple[int, Callable[[], dict[str, object]]]] = [
            (options.kills, lambda: kills(options.kills, ground, draws)),
            (options.damages, lambda: damages(options.damages, ground, draws)),
            (options.full_disks, lambda: full_disks(options.full_disks, ground, draws)),
            (options.races, lambda: races(options.races, ground)),
            (options.clusters, lambda: clusters(options.clusters, ground)),
        ]
        for count, campaign in campaigns:
            if count:
                began = time.perf_counter()
                line = campaign()
                wrong += int(str(line["wrong"]))
                print(json.dumps({**line, "seconds": round(time.perf_counter() - began, 1)}), flush=True)
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
