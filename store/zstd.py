"""The codec zstd. Few stores are compressed: the library is imported where one is, and the others need not wait."""

from __future__ import annotations

from structure.store.files import Buffer


def packed(data: Buffer, *, level: int) -> memoryview:
    """The bytes compressed."""
    from numcodecs.zstd import Zstd

    return memoryview(Zstd(level=level).encode(data))


def unpacked(data: Buffer) -> bytes:
    """The bytes as they were. Raises RuntimeError or ValueError for what zstd did not write."""
    from numcodecs.zstd import Zstd

    whole: bytes = Zstd().decode(data)
    return whole
