"""Where a server listens, and the names of it that a browser may ask for."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass

from structure.store.errors import UsageError

HOST_HEADER = re.compile(r"(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<name>[^:\[\]/@\s]+))(?::\d{1,5})?", re.ASCII)

BACKLOG = 1024
"""Connections that may wait to be taken up."""


@dataclass(frozen=True)
class Address:
    """The `host` as it was given, and the numeric address (`number`) and `port` that it is bound to."""

    host: str
    number: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether this machine alone reaches it."""
        return ipaddress.ip_address(self.number.partition("%")[0]).is_loopback

    @property
    def url(self) -> str:
        """Where a browser on this machine finds it."""
        address = ipaddress.ip_address(self.number.partition("%")[0])
        number = "127.0.0.1" if str(address) == "0.0.0.0" else "::1" if str(address) == "::" else str(address)
        return f"http://[{number}]:{self.port}" if ":" in number else f"http://{number}:{self.port}"

    def answers_to(self, header: str) -> bool:
        """Whether a Host header is one of this server.

        A page of another site that has its own name point to this machine (DNS rebinding) sends that name: so only
        addresses, `localhost`, the given host and this machine's own name are taken. Any port: it may be forwarded.
        """
        found = HOST_HEADER.fullmatch(header.strip().lower())
        if found is None:
            return False
        name = (found["v6"] or found["name"]).rstrip(".")
        if name in ("localhost", self.host.lower()):
            return True
        try:
            asked = ipaddress.ip_address(name)
        except ValueError:
            return not self.is_loopback and name in _own_names()
        return asked.is_loopback or not self.is_loopback


def listen(host: str, port: int) -> tuple[socket.socket, Address]:
    """A socket that listens: who connects waits until somebody answers. Raises UsageError for a host that is not of
    this machine and a port that is taken."""
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise UsageError(f"--host {host}: there is no such host ({error.strerror}). Write --host 127.0.0.1") from None
    # Without the protocol's number asyncio leaves Nagle's algorithm on: every answer would wait 40 ms for an ACK.
    opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(place)
        opened.listen(BACKLOG)
        number, bound = opened.getsockname()[:2]
        return opened, Address(host, number, bound)
    except OSError as error:
        opened.close()
        raise UsageError(
            f"{host}:{port} cannot be listened at: {error.strerror}. Take any port that is free with --port 0"
        ) from None


def _own_names() -> set[str]:
    name = socket.gethostname().lower()
    return {name, name.partition(".")[0], f"{name.partition('.')[0]}.local"}
