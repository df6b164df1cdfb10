"""The command's entry point: Ctrl-C is answered from the first moment on, while everything else is still imported."""

from __future__ import annotations

from structure.cli.stopping import stop_at_once


def main() -> None:
    """Run the command line, and leave with its exit code."""
    stop_at_once()
    from structure.cli.main import main as run

    run()
