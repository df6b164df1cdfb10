"""Ctrl-C and SIGTERM: at once while there is nothing to release, later as an exception that is answered in words."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from types import FrameType

INTERRUPTED = 130
WORDS = "\nStopped. What was finished is saved; run the same command again to go on."

SOON = 0.02
"""Seconds after which a signal that was dropped is raised again."""

_raised = False


def stop_at_once() -> None:
    """For the first moments: libraries that are being imported turn an exception into errors of their own, and nothing
    is held yet. The process ends where it stands."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)


def listen() -> None:
    """Forget an earlier signal; where the process is not to stop at once, exceptions tell of the next."""
    global _raised
    _raised = False
    if signal.getsignal(signal.SIGINT) is not _leave:
        stop_by_exception()


def stop_by_exception() -> None:
    """From when work begins: KeyboardInterrupt, so that leases and workers are released."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) in (_leave, signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _interrupt)


def raise_again(dropped: sys.UnraisableHookArgs) -> None:
    """As `sys.unraisablehook`: a signal that came within a callback of a finalizer or a weak reference, whose
    exceptions Python drops with a traceback on stderr, is raised again when the callback has ended. What an object
    says when it goes that a signal left half made is of no use to anyone."""
    if dropped.exc_type is not KeyboardInterrupt:
        if not _raised:
            sys.__unraisablehook__(dropped)
        return
    main = threading.main_thread().ident or 0
    again = threading.Timer(SOON, signal.pthread_kill, (main, signal.SIGINT))
    again.daemon = True
    again.start()


def was_interrupted() -> bool:
    """Whether a signal came, whatever exception a library has made of it."""
    return _raised


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, f"{WORDS}\n".encode())
    os._exit(INTERRUPTED)


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _raised
    _raised = True
    warnings.simplefilter("ignore")  # of what is left half made, such as a coroutine that nobody awaited
    raise KeyboardInterrupt
