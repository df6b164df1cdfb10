"""The four commands on an object store behind a failing proxy: the same bytes, or a stop that goes on where it was."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from .children import Done, command
from .faulty_proxy import FAULTS, proxy
from .ground import QUICK, Ground
from .normal_form import differences, tree
from .outcome import Cell

COMMANDS = (
    "extract --model bundled:scenes-vit --model bundled:scenes-text --dataset scenes:60 --layers block.0[23]",
    "rank-layers --k 4 --calibrate 0 --repeats 0",
    f"align {QUICK} --epochs 2 --name a",
    "eval --suite {place}/own.yaml --aligner a --data-root {place}",
)
STORE = "s3://bucket/store"
SHARES = dict.fromkeys(FAULTS, 0.1) | {"slow": 0.05, "any": 0.15, "500": 0.2}


@contextmanager
def object_store(folder: Path) -> Iterator[int]:
    """Port of a moto server in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    line = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (folder / "moto.log").open("w") as log:
        server = subprocess.Popen(line, stdout=log, stderr=log)
        try:
            for _ in range(1200):
                with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.1)
            yield port
        finally:
            server.terminate()
            server.wait()


def campaign(ground: Ground, count: int, seed: int, only: str = "") -> Iterator[Cell]:
    """A cell for each fault and command, of `count` runs in all, each fault from an empty bucket."""
    faults = [fault for fault in SHARES if only in fault]
    ground.copy("features")
    os.environ |= {"AWS_ACCESS_KEY_ID": "t", "AWS_SECRET_ACCESS_KEY": "t", "AWS_DEFAULT_REGION": "us-east-1"}
    with object_store(ground.folder) as port:
        straight = f"http://127.0.0.1:{port}"
        wanted = _round(ground, straight, straight, {}, "no fault")
        for fault in faults:
            cells = {line: Cell("remote", line.split()[0], fault) for line in COMMANDS}
            for number in range(-(-count // (len(faults) * len(COMMANDS)))):
                with proxy(port, fault, SHARES[fault], f"{seed} {fault} {number}") as faulty:
                    found = _round(ground, straight, faulty, cells, f"try {number}")
                if unlike := differences(found, wanted):
                    cells[COMMANDS[-1]].wrong_at(f"try {number}, after all four", unlike)
            yield from cells.values()


def _round(ground: Ground, straight: str, faulty: str, cells: dict[str, Cell], which: str) -> dict[str, Any]:
    """The four commands from an empty bucket; what they leave there. One that stops is done again without faults."""
    urlopen(Request(f"{straight}/moto-api/reset", method="POST"), timeout=60).close()
    urlopen(Request(f"{straight}/bucket", method="PUT"), timeout=60).close()
    for line in COMMANDS:
        done = _do(ground, line, faulty)
        cell = cells.get(line, Cell("", "", ""))
        cell.tries += 1
        said = []
        if done.crashed or (done.code and (done.code != 1 or len(done.told()) < 40)):
            said.append(f"exit {done.code}, {done.told()}")
        if done.code:
            again = _do(ground, line, straight)
            if again.code or again.crashed:
                said.append(f"again without faults: exit {again.code}, {again.told()}")
        if said:
            cell.wrong_at(which, said)
    checked = _do(ground, "store verify", straight)
    if checked.code:
        next(iter(cells.values()), Cell("", "", "")).wrong_at(which, ["verify: " + checked.stdout[:300]])
    return _held(ground, straight)


def _do(ground: Ground, line: str, endpoint: str) -> Done:
    os.environ["AWS_ENDPOINT_URL"] = endpoint
    return command(ground.line(line, store=STORE), ground.folder / "remote")


def _held(ground: Ground, endpoint: str) -> dict[str, Any]:
    """The bucket's files in normal form, fetched by a forked process: a client's thread does not survive a fork."""
    os.environ["AWS_ENDPOINT_URL"] = endpoint
    folder = ground.folder / "fetched"
    subprocess.run(["rm", "-rf", str(folder)], check=True)
    pid = os.fork()
    if not pid:
        code = 1
        try:
            import s3fs

            s3fs.S3FileSystem().get("bucket/store/", str(folder), recursive=True)
            code = 0
        finally:
            os._exit(code)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise RuntimeError("the bucket could not be fetched")
    return tree(folder)
