"""Every kind of file of a store x every damage: `store verify` or the command that reads the file sees it."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from structure.pipeline.owned_files import kind_of

from .children import Done
from .ground import LONG, Ground, is_cache
from .normal_form import normal
from .outcome import Cell

Change = Callable[[bytes, bytes, random.Random], bytes | None]

FEATURE_KINDS = {
    "chunks of features": r"features/.+/c/[\d/]+",
    "zarr metadata": r"features/.+/zarr\.json",
    "manifests": r"features/.+/manifest\.json",
    "markers": r"features/.+/done/.+\.json",
    "sample indexes": r"samples/.+\.parquet",
    "digests of sample indexes": r"samples/.+\.parquet\.crc.+",
    "aligned embeddings": r"embeddings/.+",
}
"""Kinds of file that feature sets look after themselves."""

RANK = "rank-layers --k {k} --calibrate 0 --repeats 0 --json"
EVALUATE = "eval --suite {place}/own.yaml --aligner a --data-root {place} --json"
REPORT = "report --json"
READERS = {
    **dict.fromkeys(FEATURE_KINDS, RANK.replace("{k}", "3")),
    "aligned embeddings": "search red --aligner a --dataset scenes --json",
    "neighbour tables": RANK.replace("{k}", "4"),
    "rankings": "align --method csa --dim 8 --layers auto --name new --test 0.2 --json",
    "aligners": EVALUATE,
    "weights, histories": EVALUATE,
    "saved evaluations": EVALUATE,
    "results": "eval --compare a b --json",
    "predictions": "eval --compare a b --json",
    "steps of recipes": "run {place}/small.yaml --json",
    "states of trainings": LONG + " --json",
    "frames of encoders": EVALUATE,
    "lists of skipped samples": "status --json",
    **dict.fromkeys(("summaries", "correlations", "pages of recipes"), "run {place}/small.yaml --json"),
    "curves over pairs": "align --method csa --curve 20 --dim 6 --layers block.03,block.03 --seeds 1 --json",
}
"""The command that reads files of a kind; the others are read by the report."""

DERIVED = ("comparisons", "summaries", "charts of curves", "lists of skipped samples")
"""Kinds whose loss nobody notices where nothing else shows them: a command makes them again from what is checked."""


def _flipped(data: bytes, other: bytes, draws: random.Random) -> bytes:
    changed = bytearray(data)
    changed[draws.randrange(len(data))] ^= 1 << draws.randrange(8)
    return bytes(changed)


DAMAGES: dict[str, Change] = {
    "flip": _flipped,
    "truncate": lambda data, other, draws: data[: draws.randrange(len(data))],
    "zero": lambda data, other, draws: bytes(len(data)),
    "empty": lambda data, other, draws: b"",
    "delete": lambda data, other, draws: None,
    "another's": lambda data, other, draws: other,
    "exchange": lambda data, other, draws: other,
}


def kinds_of(store: Path) -> dict[str, list[str]]:
    """Keys of the store's files by kind; files of no kind are left out."""
    found: dict[str, list[str]] = {}
    for path in sorted(store.rglob("*")):
        key = str(path.relative_to(store))
        if not path.is_file():
            continue
        name = next((name for name, pattern in FEATURE_KINDS.items() if re.fullmatch(pattern, key)), "")
        owned = kind_of(key)
        if not name and owned is not None:
            name = owned[0].name
        if name:
            found.setdefault(name, []).append(key)
    return found


def campaign(ground: Ground, count: int, seed: int, only: str = "") -> Iterator[Cell]:
    """A cell for each kind and damage, of `count` damages in all."""
    store = ground.base("whole") / "store"
    kinds = {name: keys for name, keys in kinds_of(store).items() if only in name}
    cells = []
    for kind, keys in kinds.items():
        for damage in DAMAGES:
            others = {key: _others(store, key, keys) for key in keys} if damage in ("another's", "exchange") else {}
            if not others or any(others.values()):
                cells.append((kind, damage, keys, others))
    whole: dict[str, Any] = {}
    for kind, damage, keys, others in cells:
        yield _tried(ground, Cell("damage", kind, damage), keys, others, -(-count // len(cells)), seed, whole)


def _others(store: Path, key: str, keys: list[str]) -> list[str]:
    """Files of the kind that hold something else."""
    data = (store / key).read_bytes()
    return [other for other in keys if (store / other).read_bytes() != data]


def _tried(
    ground: Ground,
    cell: Cell,
    keys: list[str],
    others: dict[str, list[str]],
    count: int,
    seed: int,
    whole: dict[str, Any],
) -> Cell:
    reader = READERS.get(cell.stage, REPORT)
    if reader not in whole:
        ground.copy("whole")
        whole[reader] = _result(ground.do(reader), ground)
    for number in range(count):
        draws = random.Random(f"{seed} {cell.stage} {cell.fault} {number}")
        key = draws.choice([key for key in keys if not others or others[key]])
        ground.copy("whole")
        path = ground.place / "store" / key
        if not path.stat().st_size:
            continue
        data, other = path.read_bytes(), b""
        if others:
            second = ground.place / "store" / draws.choice(others[key])
            other = second.read_bytes()
            if cell.fault == "exchange":
                second.write_bytes(data)
        now = DAMAGES[cell.fault](data, other, draws)
        path.unlink() if now is None else path.write_bytes(now)
        cell.tries += 1
        _judge(ground, cell, f"try {number}, {key}", path, now, reader, whole)
    return cell


def _judge(
    ground: Ground, cell: Cell, which: str, path: Path, now: bytes | None, reader: str, whole: dict[str, Any]
) -> None:
    checked = ground.do("store verify", "verify")
    read = ground.do(reader)
    found = _result(read, ground)
    same = read.code == 0 and found == whole[reader]
    refused = read.code in (1, 2) and len(read.told()) > 40
    mended = (path.read_bytes() if path.exists() else None) != now
    said = [f"{name}: {done.told()}" for name, done in (("verify", checked), (reader, read)) if done.crashed]
    if not (same or refused or now is None):
        said.append(f"{reader}: exit {read.code}, {read.told()} {_difference(found, whole[reader])}")
    if said:
        cell.wrong_at(which, said)
    lost = now is None and (cell.stage in DERIVED or is_cache(path.relative_to(ground.place).as_posix()))
    if not (checked.code or refused or mended or lost):
        cell.unseen_at(which)


def _result(done: Done, ground: Ground) -> Any:
    """What a command says, without times."""
    if done.code:
        return None
    try:
        return normal("said.json", done.stdout.encode())
    except json.JSONDecodeError:
        return done.stdout


def _difference(found: Any, wanted: Any) -> str:
    from .normal_form import differences

    return "" if found is None else "; ".join(differences({"result": found}, {"result": wanted}))
