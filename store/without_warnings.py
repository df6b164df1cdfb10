"""Warnings of libraries that say nothing to the user, left out by one thread at a time."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


class _Alone:
    """A lock that a forked process has anew: the thread that held it is not there."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self.lock = threading.RLock()


_alone = _Alone()


@contextmanager
def without_warnings(*, category: type[Warning] = Warning, module: str = "") -> Iterator[None]:
    """Within, no warning of this category from modules whose name `module` (a regular expression) matches is shown.

    `warnings.catch_warnings` replaces the filters of the whole process: of two threads in it at once, one would bring
    the other's back, so that a warning gets through, or all are lost for good. Here a second thread waits.
    """
    with _alone.lock, warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=category, module=module)
        yield
