"""Where a stage works and how it speaks: the store, the data, the device, and who listens. One value for all stages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from structure.pipeline.device import require_device_name, resolve_device
from structure.pipeline.progress import Event, Listener, Note, Progress, silent
from structure.store import Store, open_store
from structure.store.errors import ReadOnlyError

Confirm = Callable[[Any], None]
"""Asked, with an estimate, before work that is long; raises where the answer is no."""


@dataclass(frozen=True)
class RunContext:
    """Everything that a stage needs besides its request, and that changes none of its results but where it computes.

    `data_root` is where datasets lie. `device` is a name, or "auto" for the GPU where there is one. `confirm` is asked
    before an encoder runs for long (None: nobody is asked). `trust_remote_code` allows code that comes with a model.
    """

    store: Store
    data_root: Path = Path("data")
    device: str = "auto"
    trust_remote_code: bool = False
    confirm: Confirm | None = None
    on_event: Listener = silent

    def __post_init__(self) -> None:
        require_device_name(self.device)

    @classmethod
    def of(cls, store: Store | str | Path, **fields: Any) -> RunContext:
        """The context of a store, or of its path or URL, which need not exist yet. `fields` are those of the class."""
        if "data_root" in fields:
            fields["data_root"] = Path(fields["data_root"])
        return cls(store if isinstance(store, Store) else open_store(store), **fields)

    @cached_property
    def resolved_device(self) -> str:
        """The device that computes, such as "cpu" or "cuda:0". Raises StructureError for one that is not there."""
        return resolve_device(self.device)

    def may_save(self, what: str) -> bool:
        """Whether the store can be written; where it cannot, it is said that `what` is not saved."""
        if not self.store.files.writable:
            self.note(f"{self.store.url} cannot be written: {what} is not saved.")
        return self.store.files.writable

    def require_writable(self, what: str) -> None:
        """Raises ReadOnlyError where the store cannot be written, before `what` is made for nothing."""
        if not self.store.files.writable:
            raise ReadOnlyError(
                f"{self.store.url} cannot be written, and {what} must be saved there. Copy the store to a "
                "place that can be, or name another --store."
            )

    def note(self, text: str) -> None:
        """Say something once."""
        self.on_event(Note(text))

    def without_notes(self) -> RunContext:
        """The same, passing on progress alone: for work that is done many times over."""

        def listener(event: Event) -> None:
            if isinstance(event, Progress):
                self.on_event(event)

        return replace(self, on_event=listener)
