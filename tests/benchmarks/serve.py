"""Answers of `structure serve` over loopback, as JSON lines: `python tests/benchmarks/serve.py STORE [--aligner A]`.

The server is a process of its own; the client asks it over HTTP/1.1 with words of the captions of its dataset.
`sequential`: one request after the other on one connection, once warm, in milliseconds: the percentiles of what a user
of the page waits for (without the images). `like`: the same for an image that is searched itself, without an encoder.
`image`: an image is sent. `concurrent`: `--at-once` requests at the same moment, each on a connection of its own,
opened before, in `--rounds` rounds; `requests_per_second` of a round, the median. `ready_seconds`: from the start of
the command to its first answer.
"""

from __future__ import annotations

import argparse
import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np

CODE = "import sys; from structure.cli.main import run; sys.exit(run(sys.argv[1:]))"


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """In milliseconds."""
    return {f"p{part}_ms": float(np.percentile(seconds, part)) * 1000 for part in (50, 95, 99)}


class Client:
    """One connection that stays open."""

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        self.connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=120)
        self.connection.connect()

    def ask(self, path: str, body: bytes | None = None) -> tuple[float, bytes]:
        """Seconds until the whole answer is here, and the answer."""
        began = time.perf_counter()
        headers = {"Content-Type": "application/octet-stream"} if body else {}
        self.connection.request("POST" if body else "GET", path, body, headers)
        answer = self.connection.getresponse()
        data = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {data[:200]!r}")
        return time.perf_counter() - began, data


def timed(client: Client, paths: Sequence[str], body: bytes | None = None) -> list[float]:
    return [client.ask(path, body)[0] for path in paths]


def at_once(url: str, paths: Sequence[str]) -> tuple[list[float], float]:
    """Seconds of each of these requests, all begun together, and of all of them."""
    clients = [Client(url) for _ in paths]
    gate, seconds = threading.Barrier(len(paths) + 1), [0.0] * len(paths)

    def one(number: int) -> None:
        gate.wait()
        seconds[number] = clients[number].ask(paths[number])[0]

    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(paths))]
    for thread in threads:
        thread.start()
    gate.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    return seconds, time.perf_counter() - began


def captions(client: Client, count: int) -> list[str]:
    """Different captions of the dataset, from what is found."""
    found: dict[str, None] = {}
    for row in range(count):
        hits = json.loads(client.ask(f"/api/search?like={row}&k=3")[1])["hits"]
        found |= dict.fromkeys(hit["caption"] for hit in hits if hit["caption"])
    words = list(found) or ["a red circle"]
    return [words[number % len(words)] for number in range(count)]


def announced(server: subprocess.Popen[str]) -> Any:
    """The document that is printed when the server is ready; stdout stays open."""
    assert server.stdout is not None
    text = ""
    while line := server.stdout.readline():
        text += line
        if line == "}\n":
            return json.loads(text)
    raise SystemExit("the server did not start")


def measure(url: str, given: argparse.Namespace, say: Callable[..., None]) -> None:
    client = Client(url)
    paths = [f"/api/search?q={quote(words)}&k=12" for words in captions(client, given.requests)]
    timed(client, paths[:20])
    say("sequential", percentiles(timed(client, paths)))
    say("like", percentiles(timed(client, [f"/api/search?like={row}&k=12" for row in range(given.requests)])))
    image = client.ask("/api/images/0/file")[1]
    say("image", {"bytes": len(image), **percentiles(timed(client, ["/api/search?k=12"] * 50, image))})
    rounds = [at_once(url, [paths[n % len(paths)] for n in range(given.at_once)]) for _ in range(given.rounds)]
    speed = float(np.median([given.at_once / whole for _, whole in rounds]))
    seconds = [one for each, _ in rounds for one in each]
    say("concurrent", {"at_once": given.at_once, **percentiles(seconds), "requests_per_second": speed})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store")
    parser.add_argument("--aligner")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    began = time.perf_counter()
    named = ["--aligner", given.aligner] if given.aligner else []
    command = [sys.executable, "-c", CODE, "serve", "--store", given.store, "--port", "0", "--json", "--quiet", *named]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        document = announced(server)
        Client(document["url"]).ask("/api/about")
        ready = time.perf_counter() - began
        rows = document["rows"]["images"]

        def say(name: str, figures: dict[str, Any]) -> None:
            print(json.dumps({"measure": f"serve|{name}", "rows": rows, **figures}), flush=True)

        say("start", {"ready_seconds": ready})
        measure(document["url"], given, say)
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()
    if server.returncode:
        raise SystemExit(f"the server ended with {server.returncode}")


if __name__ == "__main__":
    main()
