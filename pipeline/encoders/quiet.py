"""Libraries that talk, and that make a million objects, while they load: kept quiet, and imported fast."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from structure.store.without_warnings import without_warnings


@contextmanager
def quiet() -> Iterator[None]:
    """Within: no progress bars, no notices and no deprecation warnings from transformers, timm or open_clip.

    What matters in them (missing weights, wrong shapes) is checked by the adapters and raised as an error.
    """
    with without_warnings():  # one thread at a time: the settings are those of the process
        yield from _silenced()


@contextmanager
def without_collector() -> Iterator[None]:
    """Within, Python's garbage collector rests. A large library makes objects that stay, and each pass of the collector
    looks through all of them again: a third of the time of importing transformers."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _silenced() -> Iterator[None]:
    from transformers.utils import logging as talk

    level, bars = talk.get_verbosity(), talk.is_progress_bar_enabled()
    root, previous = logging.getLogger(), logging.getLogger().level
    handlers = list(root.handlers)
    talk.set_verbosity_error()
    talk.disable_progress_bar()
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        talk.set_verbosity(level)
        if bars:
            talk.enable_progress_bar()
        root.setLevel(previous)
        for handler in [handler for handler in root.handlers if handler not in handlers]:
            root.removeHandler(handler)
