"""A dask cluster for `--scheduler`, or none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from structure.store.errors import StructureError

GPU = "GPU"
"""The resource that a worker with a GPU of its own declares; a task takes one whole."""

WAIT = 60.0
"""Seconds to wait for the first worker of a cluster."""


@contextmanager
def compute_on(address: str | None) -> Iterator[Callable[..., Sequence[Any]] | None]:
    """A function that runs delayed tasks on the cluster at `address`; None without an address."""
    if address is None:
        yield None
        return
    with _client(address) as client:
        yield lambda *tasks: client.gather(client.compute(tasks))


@contextmanager
def map_on(
    address: str | None, *, device: str, say: Callable[[str], None]
) -> Iterator[tuple[Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]] | None, str]]:
    """A function that runs another on each of several values on the cluster at `address` and gives the outcomes as
    they come, and the device that workers compute on; None and `device` without an address.

    Where workers declare GPUs, tasks run on these, one at a time on each, unless the device is the CPU.
    """
    if address is None:
        yield None, device
        return
    with _client(address) as client:
        gpus = _gpus(client, address)
        if device.startswith("cuda") and not gpus:
            raise StructureError(
                f"--device {device} was asked for and no worker of the cluster at {address} declares a GPU. "
                f"Start one worker for each GPU: dask worker {address} --nthreads 1 --resources {GPU}=1"
            )
        on_gpu = gpus > 0 and device != "cpu"
        say(f"Encoding on {gpus} GPU workers of {address}." if on_gpu else f"Encoding on the CPUs of {address}.")
        resources = {GPU: 1} if on_gpu else None

        def map_fn(function: Callable[[Any], Any], values: Sequence[Any]) -> Iterator[Any]:
            return _outcomes(client, address, function, values, resources)

        yield map_fn, ("cuda" if device == "auto" else device) if on_gpu else "cpu"


@contextmanager
def _client(address: str) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError:
        raise StructureError('A --scheduler needs the extra: pip install "structure-align[distributed]"') from None
    try:
        client = Client(address, timeout="10s")
    except (OSError, ValueError) as error:
        raise StructureError(f"No dask scheduler answers at {address}: {error}") from None
    with client:
        yield client


def _gpus(client: Any, address: str) -> int:
    """How many workers declare a GPU; waits for the first worker."""
    try:
        client.wait_for_workers(1, timeout=WAIT)
    except TimeoutError:
        raise StructureError(
            f"The cluster at {address} had no worker for {WAIT:.0f} s. Start one: dask worker {address} --nthreads 1"
        ) from None
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return sum(worker["resources"].get(GPU, 0) >= 1 for worker in workers)


def _outcomes(
    client: Any,
    address: str,
    function: Callable[[Any], Any],
    values: Sequence[Any],
    resources: dict[str, int] | None,
) -> Iterator[Any]:
    """What the function gives for each of the values, as it comes. The scheduler runs what a lost worker had again."""
    from distributed import KilledWorker, as_completed
    from distributed.client import FutureCancelledError

    # Not pure: a shard may be asked for twice in a run, and an outcome is no value to be remembered.
    futures = client.map(function, values, resources=resources, pure=False)
    try:
        for _, outcome in as_completed(futures, with_results=True):
            yield outcome
    except KilledWorker as error:
        raise StructureError(
            f"{error.allowed_failures + 1} workers of the cluster at {address} died on the same shard; out of memory, "
            "perhaps (their logs say more). Everything finished is saved; run the same command again to go on."
        ) from None
    except FutureCancelledError:
        raise StructureError(
            f"The scheduler at {address} went away. Everything finished is saved; run the same command again to go on."
        ) from None
    except ImportError as error:
        raise StructureError(f"A worker of the cluster at {address} lacks a package: {error}.") from error
    finally:
        client.cancel(futures)
