"""Good files and files written to attack, of every kind that a reader takes."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image


class Bomb:
    """Unpickled, it would run a program."""

    def __init__(self, program: Callable[..., Any], *words: Any) -> None:
        self.call = (program, words)

    def __reduce__(self) -> Any:
        return self.call


def parquet_of(rows: list[dict[str, str]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def tar_of(*members: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode=mode) as tar:  # type: ignore[call-overload]
        for entry, data in members:
            entry.size = entry.size or len(data)
            tar.addfile(entry, io.BytesIO(data) if data else None)
    return sink.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 0) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.size = kind, target, size
    return entry


def tars() -> Iterator[bytes]:
    members = [(member("s0.png"), b"png"), (member("s0.txt"), b"one"), (member("d/s1.txt"), b"two")]
    yield tar_of(*members)
    yield tar_of(*members, mode="w:gz")


def bad_tars() -> Iterator[bytes]:
    for name in (
        "../../out.txt",
        "/tmp/out.txt",
        "a/../../out.txt",
        "..\\out.txt",
        "x" * 300 + ".txt",
        "\udcff.txt",
        ".",
    ):
        yield tar_of((member(name), b"x"))
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        yield tar_of((member("s.txt", kind, "/etc/passwd"), b""), (member("s.txt"), b"through the link"))
        yield tar_of((member("d", kind, "../.."), b""), (member("d/out.txt"), b"x"))
    for kind in (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE):
        yield tar_of((member("s.txt", kind), b""))
    entry = member("s.txt", size=8 * 2**40)
    yield entry.tobuf(tarfile.GNU_FORMAT) + b"x" * 512


def zip_of(members: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return sink.getvalue()


def bad_zips() -> Iterator[bytes]:
    yield from (
        zip_of({name: b"x"})
        for name in ("../../out.txt", "/tmp/out.txt", "a/../../out.txt", "..\\..\\out.txt", "C:\\x")
    )
    yield zip_of({"zeros": bytes(3 * 2**20)})
    good = bytearray(zip_of({"a": b"x" * 100}))
    for place in (6, 8):  # encrypted; a method that nobody has
        tried = bytearray(good)
        for start in (place, good.index(b"PK\1\2") + place + 2):
            tried[start] = 0x63
        yield bytes(tried)


def npz() -> bytes:
    sink = io.BytesIO()
    np.savez(sink, a=np.ones((3, 2), np.float32), ids=np.array(["x", "y", "z"]))
    return sink.getvalue()


def bad_npz() -> Iterator[bytes]:
    sink = io.BytesIO()
    np.savez(sink, a=np.array([[Bomb(os.system, "touch /tmp/owned")]], dtype=object))
    yield sink.getvalue()
    for shape in ("(4000000000, 4000000000)", "(900000000, 900)", "(-1, 2)", "(2, 2", "3"):
        head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
        yield zip_of({"a.npy": b"\x93NUMPY\1\0" + len(head).to_bytes(2, "little") + head + bytes(64)})
    for kind in ("|O", "V9999999", "<M8[s]", "__import__('os').system('touch /tmp/owned')"):
        head = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': (1, 1), }}".encode().ljust(117) + b"\n"
        yield zip_of({"a.npy": b"\x93NUMPY\1\0" + len(head).to_bytes(2, "little") + head + bytes(64)})
    yield zip_of({"../../a.npy": b"x", "b.npy": b""})


def safetensors() -> bytes:
    from safetensors.numpy import save

    return save({"a": np.ones((3, 2), np.float32)})


def pictures() -> Iterator[bytes]:
    for kind, mode in (
        ("PNG", "RGBA"),
        ("JPEG", "CMYK"),
        ("GIF", "P"),
        ("WEBP", "RGB"),
        ("BMP", "RGB"),
        ("TIFF", "I;16"),
    ):
        sink = io.BytesIO()
        Image.new(mode, (9, 7), 3 if mode in ("P", "I;16") else None).save(sink, kind)
        yield sink.getvalue()


def bad_pictures() -> Iterator[bytes]:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    for side in (2**31 - 1, 60_000):
        head = side.to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
        yield (
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", head)
            + chunk(b"IDAT", zlib.compress(bytes(10_000)))
            + chunk(b"IEND", b"")
        )
    yield b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
    yield b"<svg xmlns='http://www.w3.org/2000/svg'/>"


def cifar() -> bytes:
    return pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"labels": [0]}, protocol=2)


def bad_pickles() -> Iterator[bytes]:
    for program, *words in (
        (os.system, "touch /tmp/owned"),
        (eval, "1"),
        (exec, "1"),
        (getattr, "", "upper"),
        (open, "/tmp/owned", "w"),
    ):
        yield pickle.dumps({"data": Bomb(program, *words), "labels": [0]}, protocol=2)  # type: ignore[arg-type]
    yield b"cos\nsystem\n(S'touch /tmp/owned'\ntR."
    yield pickle.dumps({"data": Bomb(bytearray, 10**12)}, protocol=2)


def idx() -> bytes:
    return b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (2, 3, 4)) + bytes(24)


def _swelling_yaml() -> bytes:
    """Twenty levels of aliases, five times as much on each."""
    lines = [b"a: &a [x, x]"] + [b"%c: &%c [%s]" % (c, c, b", ".join([b"*%c" % (c - 1)] * 5)) for c in range(98, 118)]
    return b"\n".join(lines) + b"\n"


YAML = (
    b"name: !!python/object/apply:os.system ['touch /tmp/owned']\n",
    _swelling_yaml(),
    b"a: &a {b: *a}\n",
    b"[" * 3000,
    b"a: " + b"{a: " * 3000,
    b"? [a, b]\n: 1\n",
    b"name: 2024-99-99\n",
    b"name: 0b9\nversion: !!binary '*'\n",
)
