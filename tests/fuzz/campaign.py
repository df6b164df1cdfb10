"""Many inputs for one reader, each in a folder of its own, and what came of them."""

from __future__ import annotations

import random
import shutil
import warnings
from pathlib import Path
from typing import Any

from structure.store.errors import StructureError

from .mutations import Reader, mutated
from .watch import Hang, seen, watched


def campaign(reader: Reader, count: int, folder: Path, seed: int) -> dict[str, Any]:
    """Give the reader `count` inputs; what came of them, and the first faults with the inputs that made them."""
    draws = random.Random(f"{seed} {reader.name}")
    tally = {"given": 0, "refused": 0, "read": 0}
    faults: list[str] = []
    inputs = [*reader.seeds, *reader.attacks]
    for number in range(count):
        data = inputs[number] if number < len(inputs) else mutated(reader, draws)
        home = folder / "input"
        home.mkdir()
        path = home / f"input{reader.suffix}"
        path.write_bytes(data)
        told = ""
        with watched(home), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                reader.read(path)
                tally["read"] += 1
            except (StructureError, MemoryError):  # the command line tells either in a sentence
                tally["refused"] += 1
            except (Exception, Hang) as error:
                told = f"{type(error).__name__}: {str(error)[:200]}"
        told = "; ".join(filter(None, (told, *seen)))
        tally["given"] += 1
        if told:
            faults.append(told)
            if len(faults) <= 20:
                kept = folder / "faults"
                kept.mkdir(exist_ok=True)
                (kept / f"{reader.name.replace(' ', '-')}-{len(faults)}{reader.suffix}").write_bytes(data)
        shutil.rmtree(home)
    distinct = sorted(set(faults), key=faults.index)
    return {"measure": reader.name, **tally, "faults": len(faults), "first": distinct[:8]}
