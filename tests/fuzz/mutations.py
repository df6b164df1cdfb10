"""Inputs from good files: bytes tampered with, values of a document exchanged for strange ones, hostile files."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STRANGE: list[Any] = [None, True, -1, 0, 1, 2**31, 2**63, 10**30, 1e308, "", "..", "../../x", "/etc/passwd", "\0"]
STRANGE += ["{c}", "x" * 5000, "\ud800", "\U0001f642", "block.00", "float64", "1e5"]
STRANGE += [[], {}, [[]], [None], {"": None}, {"a": {"b": [1]}}]
TOKENS = [b"\0", b"\xff" * 8, b"\x7f\xff\xff\xff", b"../" * 3, b"{", b"[" * 40, b'"', b"\n", b"1e999", b"NaN", b"-"]


@dataclass(frozen=True)
class Reader:
    """`read` a file at a path; `seeds` good ones, `attacks` hostile ones; `mended` makes a mutated document's checksum
    fit again."""

    name: str
    suffix: str
    seeds: tuple[bytes, ...]
    read: Callable[[Path], object]
    attacks: tuple[bytes, ...] = ()
    document: bool = False
    mended: Callable[[Any], Any] | None = None


def mutated(reader: Reader, draws: random.Random) -> bytes:
    """One input: an attack, a document with strange values, or bytes that were tampered with."""
    if reader.attacks and draws.random() < 0.1:
        data = draws.choice(reader.attacks)
        return data if draws.random() < 0.5 else tampered(data, reader, draws)
    if reader.document and draws.random() < 0.6:
        return document(reader, draws)
    return tampered(draws.choice(reader.seeds), reader, draws)


def document(reader: Reader, draws: random.Random) -> bytes:
    """A good document (of JSON lines one line) with one to three values exchanged."""
    seed = draws.choice(reader.seeds)
    body = json.loads(draws.choice(seed.splitlines()) if reader.suffix == ".jsonl" else seed)
    for _ in range(draws.choice((1, 1, 1, 2, 3))):
        body = exchanged(body, draws)
    if reader.mended is not None:
        with contextlib.suppress(Exception):  # a body too strange to be repaired is an input too
            body = reader.mended(body)
    return json.dumps(body).encode("utf-8", "surrogatepass")


def exchanged(value: Any, draws: random.Random) -> Any:
    """The value with one place in it replaced, removed, or given twice."""
    if isinstance(value, dict) and value and draws.random() < 0.9:
        key = draws.choice(list(value))
        kind = draws.random()
        if kind < 0.1:
            return {name: entry for name, entry in value.items() if name != key}
        if kind < 0.2:
            return {**value, draws.choice(("x", "", "..", key.upper(), "__class__")): draws.choice(STRANGE)}
        return {**value, key: exchanged(value[key], draws)}
    if isinstance(value, list) and value and draws.random() < 0.8:
        place = draws.randrange(len(value))
        return [*value[:place], exchanged(value[place], draws), *value[place + draws.choice((0, 1, 1, 2)) :]]
    return draws.choice(STRANGE)


def tampered(data: bytes, reader: Reader, draws: random.Random) -> bytes:
    found = bytearray(data)
    for _ in range(draws.choice((1, 1, 2, 4, 16))):
        place = draws.randrange(len(found) + 1)
        length = draws.choice((1, 1, 2, 4, 8, 64, 512))
        match draws.randrange(7):
            case 0 if place < len(found):
                found[place] ^= 1 << draws.randrange(8)
            case 1:
                del found[place:]
            case 2:
                del found[place : place + length]
            case 3:
                found[place:place] = found[place : place + length]
            case 4:
                found[place:place] = draws.choice(TOKENS)
            case 5:
                found[place : place + length] = draws.randbytes(length)
            case _:
                other = draws.choice(reader.seeds)
                found[place : place + length] = other[draws.randrange(len(other)) :][:length]
    return bytes(found)
