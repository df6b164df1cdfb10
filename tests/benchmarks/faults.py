"""A fault campaign: kill, flip, truncate, delete, race; after each, the store must be what it would have been.

    python tests/benchmarks/faults.py --kills 200 --damages 300 --races 50

Prints one JSON line a campaign. Children are forked from one process that has imported torch, so that a kill costs
milliseconds. That process computes nothing itself: a thread pool does not survive a fork.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from structure.pipeline.datasets.scenes import Scenes
from structure.pipeline.stages.extract import extract
from structure.pipeline.stages.repair import repair
from structure.store import open_store
from structure.store.claim import HeldError

MODELS = ["bundled:scenes-vit", "bundled:scenes-text"]


def tree(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def child(work: Callable[[], object]) -> int:
    """Run in a forked process; its number."""
    pid = os.fork()
    if pid:
        return pid
    code = 0
    try:
        work()
    except HeldError:
        code = 3
    except BaseException:
        traceback.print_exc()
        code = 1
    os._exit(code)


def job(spec: str, store: Path, append: bool = False) -> Callable[[], object]:
    return partial(extract, MODELS, spec, store=store, append=append, workers=0)


def finish(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def write_pairs(folder: Path, count: int) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    scenes = Scenes(split="train")
    lines = []
    for i in range(count):
        if not (folder / f"{i}.png").exists():
            scenes.image(i).save(folder / f"{i}.png")
        lines.append(json.dumps({"id": f"s{i}", "image": f"{i}.png", "captions": scenes.item(i).captions}))
    (folder / "pairs.jsonl").write_text("\n".join(lines))
    return f"pairs:{folder / 'pairs.jsonl'}"


def kills(count: int, folder: Path, draws: random.Random) -> dict[str, object]:
    """kill -9 at random moments of extract and append; each followed by a resume, at the end the same bytes."""
    small = write_pairs(folder / "data", 120)
    store = folder / "reference"
    finish(child(job(small, store)))
    first = tree(store)
    began = time.perf_counter()
    finish(child(job(small, folder / "timing")))
    seconds = time.perf_counter() - began
    large = write_pairs(folder / "data", 200)
    finish(child(job(large, store, append=True)))
    second = tree(store)
    landed, rounds, wrong = 0, 0, 0
    while landed < count:
        rounds += 1
        target = folder / f"round{rounds}"
        for spec_rows, expected, append in ((120, first, False), (200, second, True)):
            spec = write_pairs(folder / "data", spec_rows)
            while True:
                pid = child(job(spec, target, append))
                time.sleep(draws.uniform(0.0, seconds))
                os.kill(pid, signal.SIGKILL)
                code = finish(pid)
                if code != -signal.SIGKILL:
                    break
                landed += 1
                if draws.random() < 0.3:  # sometimes resume to the end at once
                    break
            if finish(child(job(spec, target, append))) != 0:
                wrong += 1
            faults = [str(fault) for features in open_store(target).feature_sets() for fault in features.verify()]
            if tree(target) != expected or faults:
                wrong += 1
                print(json.dumps({"round": rounds, "append": append, "faults": faults[:3]}), flush=True)
        shutil.rmtree(target)
    return {"campaign": "kill -9", "kills": landed, "rounds": rounds, "wrong": wrong}


def damages(count: int, folder: Path, draws: random.Random) -> dict[str, object]:
    """Single-bit flips, truncations and deletions of every kind of file; all must be seen and mended."""
    spec = write_pairs(folder / "data", 120)
    store = folder / "damaged"
    finish(child(job(spec, store)))
    good = tree(store)
    names = sorted(good)
    unseen, unmended = [], []
    for number in range(count):
        name = names[draws.randrange(len(names))]
        kind = ("flip", "truncate", "delete")[number % 3]
        path = store / name
        if kind == "flip":
            data = bytearray(good[name])
            data[draws.randrange(len(data))] ^= 1 << draws.randrange(8)
            path.write_bytes(data)
        elif kind == "truncate":
            path.write_bytes(good[name][: draws.randrange(len(good[name]))])
        else:
            path.unlink()
        opened = open_store(store)
        seen = False
        for key in opened:
            try:
                seen |= bool(opened[key].verify())
            except Exception:
                seen = True
        if not seen:
            unseen.append((kind, name))
        finish(child(lambda: [repair(key, store=store) for key in open_store(store)]))
        if tree(store) != good:
            unmended.append((kind, name))
            for other, data in good.items():
                (store / other).write_bytes(data)
    return {"campaign": "damage", "tried": count, "unseen": unseen[:5], "unmended": unmended[:5]}


def races(count: int, folder: Path) -> dict[str, object]:
    """Two writers start at once; the bytes are those of one."""
    spec = write_pairs(folder / "data", 120)
    finish(child(job(spec, folder / "alone")))
    expected = tree(folder / "alone")
    wrong, refused = 0, 0
    for _ in range(count):
        store = folder / "race"
        pair = [child(job(spec, store)) for _ in range(2)]
        codes = [finish(pid) for pid in pair]
        refused += codes.count(3)
        if finish(child(job(spec, store))) != 0 or 1 in codes:
            wrong += 1
        if tree(store) != expected:
            wrong += 1
        shutil.rmtree(store)
    return {"campaign": "race", "races": count, "refused": refused, "wrong": wrong}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--damages", type=int, default=300)
    parser.add_argument("--races", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    draws = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(kills(options.kills, Path(folder) / "kills", draws)), flush=True)
        print(json.dumps(damages(options.damages, Path(folder) / "damages", draws)), flush=True)
        print(json.dumps(races(options.races, Path(folder) / "races")), flush=True)


if __name__ == "__main__":
    main()
