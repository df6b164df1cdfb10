"""The command's entry point: Ctrl-C is answered from the first moment on, while everything else is still imported; and
its end, where nothing is taken apart that the system takes back anyway."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from contextlib import suppress

from structure.cli import collector
from structure.cli.stopping import raise_again, stop_at_once


def main() -> None:
    """Run the command line, and leave with its exit code."""
    stop_at_once()
    sys.unraisablehook = raise_again
    collector.seldom()
    from structure.cli.main import main as run

    try:
        run()
    except SystemExit as leaving:
        leave(leaving.code)


def leave(code: str | int | None) -> None:
    """End the process as Python does, up to where it would take every module apart: with torch and transformers that
    takes a second. Threads are waited for, and what is registered for the end runs; a signal ends that at once."""
    stop_at_once()
    if isinstance(code, str):
        print(code, file=sys.stderr)
    threading._shutdown()  # type: ignore[attr-defined]
    with suppress(Exception):  # Python has printed it
        atexit._run_exitfuncs()
    status = code if isinstance(code, int) else int(code is not None)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        pass  # a reader that has left
    except (OSError, ValueError) as error:  # a full disk, a closed stream: what was to be said is lost
        status = status or 1
        with suppress(OSError, ValueError):
            print(f"Error: the output could not be written: {error}.", file=sys.stderr)
    with suppress(OSError, ValueError):
        sys.stderr.flush()
    os._exit(status)
