"""Charts drawn in a process of its own: the library that draws takes a third of a second before its first chart, and
holds Python's lock while it draws."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Self, TypeAlias

from structure.pipeline.charts.address_space import DRAWING, require_address_space
from structure.pipeline.charts.png import SCALE, drawn, on_paper
from structure.pipeline.charts.theme import Spec
from structure.store.errors import MachineError

Draw: TypeAlias = Callable[[Sequence[tuple[str, Spec]]], list[bytes]]
"""Charts with their titles -> each as PNG."""

DRAW = """
import json, sys
sys.path.append(sys.argv[1])
import vl_convert
vl_convert.vegalite_to_png({"mark": "point", "data": {"values": []}})
for spec in json.load(sys.stdin):
    image = vl_convert.vegalite_to_png(spec, scale=float(sys.argv[2]))
    sys.stdout.buffer.write(len(image).to_bytes(8) + image)
"""
"""What the process runs. It draws a first chart while nobody waits, and ends where its input ends."""


def draw_here(charts: Sequence[tuple[str, Spec]]) -> list[bytes]:
    """Each chart with its title as PNG, drawn in this process. Raises as `png` does."""
    return [drawn(on_paper(spec, title=title)) for title, spec in charts]


class DrawingProcess:
    """Draws as `draw_here` does, the same bytes. It gets ready from its start on, beside other work; where the process
    cannot start or fails, its charts are drawn here. Leaving it ends the process."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        library = find_spec("vl_convert")
        if library is None or library.origin is None:
            return
        command = [sys.executable, "-I", "-S", "-c", DRAW, str(Path(library.origin).parents[1]), str(SCALE)]
        pipe = subprocess.PIPE
        with suppress(OSError, ValueError, MachineError):
            require_address_space(DRAWING, "Drawing a chart")
            # Ctrl-C at the terminal does not reach a session of its own; it ends with the program, as its input does.
            self._process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, start_new_session=True
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def __call__(self, charts: Sequence[tuple[str, Spec]]) -> list[bytes]:
        """Each chart with its title as PNG; once. Raises as `png` does."""
        images = self._images([on_paper(spec, title=title) for title, spec in charts])
        return draw_here(charts) if len(images) < len(charts) else images

    def _images(self, specs: Sequence[Spec]) -> list[bytes]:
        """What the process draws of them, up to where it fails."""
        if self._process is None:
            return []
        written, _ = self._process.communicate(json.dumps(specs).encode())
        images, at = [], 0
        while at < len(written):
            start, size = at + 8, int.from_bytes(written[at : at + 8])
            at = start + size
            images.append(written[start:at])
        return images if self._process.returncode == 0 else []
