"""A proxy before an object-store server that answers a share of requests with faults; a process of its own."""

from __future__ import annotations

import http.client
import http.server
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import PIPE, Popen
from typing import Any

FAULTS = ("500", "503", "slow", "cut before", "cut after", "cut within")
"""An answer of that status; late by half a second; the connection closed before the request is passed on, after it was
done, or in the middle of the answer."""


class Handler(http.server.BaseHTTPRequestHandler):
    """Passes requests on, or does a fault."""

    protocol_version = "HTTP/1.1"
    port, share, fault = 0, 0.0, ""
    draws = random.Random(0)

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.fault if self.draws.random() < self.share else ""
        if fault == "any":
            fault = self.draws.choice(FAULTS)
        if fault in ("500", "503"):
            self._answer(int(fault), [("Content-Type", "application/xml")], _error(fault))
            return
        if fault == "slow":
            time.sleep(0.5)
        if fault == "cut before":
            self.close_connection = True
            return
        upstream = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        upstream.request(self.command, self.path, body, dict(self.headers.items()))
        answer = upstream.getresponse()
        data = answer.read()
        upstream.close()
        if fault == "cut after":
            self.close_connection = True
            return
        within = fault == "cut within" and self.command != "HEAD"
        self._answer(answer.status, answer.getheaders(), data, stop=len(data) // 2 if within else None)

    def _answer(self, status: int, headers: Any, data: bytes, stop: int | None = None) -> None:
        self.send_response_only(status)
        length = str(len(data))
        for name, value in headers:
            if name.lower() == "content-length":
                length = value  # of HEAD: what a GET would have
            elif name.lower() not in ("transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[:stop])
        if stop is not None:
            self.close_connection = True

    def log_message(self, format: str, *values: object) -> None:
        pass

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any


def _error(status: str) -> bytes:
    code = "InternalError" if status == "500" else "SlowDown"
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>of the proxy</Message></Error>".encode()


class Server(http.server.ThreadingHTTPServer):
    """Says nothing of clients that leave: that is what this is for."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@contextmanager
def proxy(port: int, fault: str, share: float, seed: str) -> Iterator[str]:
    """Address of a proxy before the server at that port."""
    process = Popen([sys.executable, __file__, str(port), fault, str(share), seed], stdout=PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait()
        process.stdout.close()


def main() -> None:
    port, fault, share, seed = sys.argv[1:]
    Handler.port, Handler.fault, Handler.share, Handler.draws = int(port), fault, float(share), random.Random(seed)
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
