"""Charts as PNG, for the store, slides and papers: drawn by vl-convert, which needs no browser and no display."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from structure.pipeline.charts.address_space import DRAWING, require_address_space
from structure.pipeline.charts.theme import Spec

WIDTH = 640
SCALE = 2.0
INK = "#222222"


def png(spec: Mapping[str, Any], *, title: str = "", width: int = WIDTH) -> bytes:
    """The chart as PNG bytes, `width` pixels times two wide without axes and legend, on white.

    Line breaks divide the title. The same specification gives the same bytes on the same machine (system fonts).
    Raises MachineError where the library that draws would end the program.
    """
    return drawn(on_paper(spec, title=title, width=width))


def drawn(spec: Spec) -> bytes:
    """A chart that is `on_paper`, as PNG. Raises as `png` does."""
    require_address_space(DRAWING, "Drawing a chart")
    import vl_convert

    image: bytes = vl_convert.vegalite_to_png(spec, scale=SCALE)
    return image


def on_paper(spec: Mapping[str, Any], *, title: str = "", width: int = WIDTH) -> Spec:
    """The specification with its title, of that width, on white."""
    whole: Spec = json.loads(json.dumps(spec).replace('"currentColor"', f'"{INK}"'))  # white paper has no page's colour
    whole |= {"background": "white", "padding": 12}
    if "width" in whole:
        whole["width"] = width
    if title:
        whole["title"] = {"text": title.split("\n")}
    return whole


def panels(charts: Sequence[tuple[str, Spec]], *, columns: int = 3, width: int = 260) -> Spec:
    """Several charts as one, side by side under their titles, each with its own axes."""
    apart = ("config", "width", "datasets")  # which only the whole may have
    parts = [
        {key: value for key, value in spec.items() if key not in apart}
        | {"width": width, "title": {"text": title.split("\n"), "fontSize": 11}}
        for title, spec in ((title, _named_apart(spec, number)) for number, (title, spec) in enumerate(charts))
    ]
    return {
        "concat": parts,
        "columns": min(columns, len(parts)),
        "resolve": {"scale": {"x": "independent", "y": "independent"}},
        "config": charts[0][1]["config"],
        "datasets": {name: rows for _, spec in charts for name, rows in spec.get("datasets", {}).items()},
    }


def _named_apart(spec: Spec, number: int) -> Spec:
    """The chart with names of its own for views and parameters: those of two charts are the same, and both would draw
    the lines of the last one."""
    renamed: Spec = json.loads(re.sub(r'"(view|param)_', rf'"panel{number}_\1_', json.dumps(spec)))
    return renamed
