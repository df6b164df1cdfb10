"""A request that is not answered: why, in words, and the HTTP status that says so to programs."""

from __future__ import annotations

from structure.store.errors import StructureError


class RefusedError(StructureError):
    """Raised while a request is answered; `status` is that of the response, the text its `error`."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
