"""Which requests reach the server at all, and what every response says to browsers."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from structure.pipeline.progress import Listener, Note
from structure.pipeline.serving.address import Address

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy: the page runs its own script and loads nothing from elsewhere."""

HEADERS: Mapping[str, str] = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """Refuses what pages of other sites send through a browser on this machine: by their host name, their origin, or as
    part of another page. An error of the program is told to the listener."""

    def __init__(self, app: ASGIApp, address: Address, on_event: Listener) -> None:
        self.app, self.address, self.on_event = app, address, on_event

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        refusal = self._refusal(scope["path"], Headers(scope=scope))
        if refusal:
            await JSONResponse({"error": refusal}, 403)(scope, receive, guarded)
            return
        try:
            await self.app(scope, receive, guarded)
        except Exception as error:
            # It was answered with 500 before it came here.
            self.on_event(Note(f"{scope['path']} was not answered: {type(error).__name__}: {error}"))

    def _refusal(self, path: str, headers: Headers) -> str:
        """Why this request is not from a page of this server or a program on its own; "" where it may be."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self.address.answers_to(hosts[0]):
            return (
                f"This server does not answer to the name {', '.join(hosts) or 'of no host'}. Open {self.address.url}"
            )
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in (
            f"{scheme}://{hosts[0].lower()}" for scheme in ("http", "https")
        ):
            return f"Pages of {origin} may not ask this server. Open {self.address.url}"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and path != "/":
            return f"Pages of other sites may not ask this server. Open {self.address.url}"
        return ""
