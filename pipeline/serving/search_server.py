"""A running server: a thread that listens, from when it is made until it is closed."""

from __future__ import annotations

import socket
import threading
import time
from types import TracebackType
from typing import Any

import uvicorn

from structure.pipeline.serving.address import Address
from structure.pipeline.serving.app import SearchApp
from structure.pipeline.serving.guard import Guard
from structure.pipeline.serving.search_engine import SearchEngine

CONNECTIONS = 1024
"""Connections at once; further ones are told to come again (503)."""
ENDING_SECONDS = 3
"""How long answers that are under way are waited for at the end."""


class SearchServer:
    """Serves the page and the API of an engine at `url`, through a socket that listens at `address`, until `close` or
    the end of a `with` block."""

    def __init__(self, engine: SearchEngine, listening: socket.socket, address: Address) -> None:
        self.address = address
        self._app = SearchApp(engine)
        guarded: Any = Guard(self._app.starlette, self.address, engine.context.on_event)
        self._uvicorn = uvicorn.Server(
            uvicorn.Config(
                guarded,
                loop="asyncio",
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="critical",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=CONNECTIONS,
                timeout_graceful_shutdown=ENDING_SECONDS,
            )
        )
        self._thread = threading.Thread(
            target=self._uvicorn.run, kwargs={"sockets": [listening]}, name="structure-serve", daemon=True
        )
        self._thread.start()
        while self._thread.is_alive() and not self._uvicorn.started:
            time.sleep(0.005)

    @property
    def url(self) -> str:
        """Its address for a browser, without a slash at the end."""
        return self.address.url

    @property
    def facts(self) -> dict[str, Any]:
        """What it searches, as `/api/about` says it."""
        return self._app.facts()

    def wait(self) -> None:
        """Until Ctrl-C, or `close` by another thread."""
        try:
            self._thread.join()
        except KeyboardInterrupt:
            return

    def close(self) -> None:
        """End: answers that are under way are sent first, for at most a few seconds."""
        self._uvicorn.should_exit = True
        self._thread.join()
        self._app.close()

    def __enter__(self) -> SearchServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
