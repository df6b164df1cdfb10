"""Which device computes: `auto` takes the GPU where there is one, and a named GPU must exist; what memory it has."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import TypeVar

from structure.store.errors import StructureError

Given = TypeVar("Given")
Made = TypeVar("Made")


def require_device_name(device: str) -> None:
    """Raises StructureError for what names no device; whether it is there is seen when it is used. Imports no torch."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise StructureError(f"{device!r} is not a device. Use auto, cpu, cuda or cuda:0.")


def resolve_device(device: str) -> str:
    """`auto` -> `cuda:0` or `cpu`; a CUDA device that is not there is an error, not a fall back to the CPU."""
    import torch

    require_device_name(device)
    if device == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    wanted = torch.device(device)
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        raise StructureError(
            f"--device {device} was asked for and {torch.cuda.device_count()} CUDA devices are visible. "
            "Pass --device auto or --device cpu."
        )
    return str(wanted)


def free_memory(device: str) -> int | None:
    """Bytes that are free on the device now: of a GPU, or of this machine's memory; None where nobody says."""
    import torch

    wanted = torch.device(device)
    if wanted.type == "cuda":
        return int(torch.cuda.mem_get_info(wanted)[0])
    try:
        with open("/proc/meminfo", encoding="ascii") as table:
            told = dict(line.split(":", 1) for line in table)
        return int(told["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


def give_memory_back() -> None:
    """Return what the C library holds between blocks that are in use to the system, where it is glibc: many threads and
    sizes leave as much as a large array."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory did not suffice: of a GPU torch says "CUDA out of memory. Tried to ...", of a CPU, in a plain
    RuntimeError, "... can't allocate memory: you tried ..."."""
    told = isinstance(error, RuntimeError) and any(w in str(error) for w in ("out of memory", "can't allocate memory"))
    return told or isinstance(error, MemoryError)


SMALL = 200_000_000
"""Parameters up to which one input at a time takes one thread: its products are so small that threads which wait for
each other take longer than one alone, on a busy machine a hundred times."""


def few_threads(parameters: int, inputs: int = 1) -> AbstractContextManager[None]:
    """Within, torch computes with one thread if a model of so many parameters reads only a few inputs."""
    return one_thread() if parameters <= SMALL and inputs <= 4 else nullcontext()


@contextmanager
def one_thread() -> Iterator[None]:
    """Within, torch computes with one thread: where matrices are small, or where others compute beside it. The number
    is partly a thread's own and partly the process's, so it is put back."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def cores() -> int:
    """How many computations run side by side: as many as torch has threads."""
    import torch

    return int(torch.get_num_threads())


def side_by_side(work: Callable[[Given], Made], given: Iterable[Given], *, at_once: int) -> Iterator[Made]:
    """`work` of each, in order, `at_once` at a time with one torch thread each: what is not a large matrix product then
    runs on every core, too. Where it is one at a time, torch has its threads."""
    if at_once == 1:
        yield from map(work, given)
        return
    import torch

    with one_thread(), ThreadPoolExecutor(at_once, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield from pool.map(work, given)
