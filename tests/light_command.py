"""A command in a process of its own, which fails if it imports a library that takes seconds."""

from __future__ import annotations

import subprocess
import sys

CODE = (
    "import sys; from structure.cli.main import run; code = run(sys.argv[1:]);"
    "heavy = {'torch', 'transformers', 'timm', 'open_clip', 'zarr', 'dask', 'xarray', 'pandas', 'altair', 'sklearn'};"
    "assert not heavy & set(sys.modules), heavy & set(sys.modules); sys.exit(code)"
)


def run_light(*command: str) -> str:
    """What it prints, output and errors."""
    done = subprocess.run([sys.executable, "-c", CODE, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr
