"""What charts are put together from: fields of rows, series, reference lines, tooltips, layers, inline data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from structure.pipeline.charts.theme import DASHES, GREY, HEIGHT, HIGHLIGHT, SERIES, THEME, Spec

Records: TypeAlias = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Fields:
    """Which fields of the rows a chart draws: `x` along, `y` up. `titles` name fields on axes and in tooltips.

    `tooltip` lists what hovering shows: a field, with `:N` for text or `:FORMAT` for a number format of its own.
    """

    x: str
    y: str
    titles: Mapping[str, str]
    tooltip: Sequence[str]


@dataclass(frozen=True)
class Reference:
    """A named value on an axis, drawn as a dashed line; `highlight` gives it the colour of what was chosen."""

    label: str
    value: float
    highlight: bool = False


def nominal(field: str, **more: Any) -> Spec:
    """A field of texts."""
    return {"field": field, **more, "type": "nominal"}


def quantitative(field: str, **more: Any) -> Spec:
    """A field of numbers."""
    return {"field": field, **more, "type": "quantitative"}


def layer(mark: str, encoding: Mapping[str, Any], *, data: Records | None = None, **style: Any) -> Spec:
    """Marks of one kind, which screen readers pass over, by rows of their own (`data`) or of the whole chart."""
    drawn: Spec = {"mark": {"type": mark, "aria": False, **style}, "encoding": dict(sorted(encoding.items()))}
    return drawn if data is None else {"data": data, **drawn}


def series_colours(field: str, names: Sequence[str], title: str) -> Spec:
    """Colour, and beyond ten series also the dashes of the line: two of a colour then still differ."""
    legend = {"columns": 1, "direction": "vertical", "orient": "bottom"} if len(names) > 1 else None

    def channel(values: Sequence[Any]) -> Spec:
        return nominal(field, legend=legend, scale={"domain": list(names), "range": list(values)}, title=title)

    channels = {"color": channel([SERIES[index % len(SERIES)] for index in range(len(names))])}
    if len(names) > len(SERIES):
        dashes = [list(DASHES[index // len(SERIES) % len(DASHES)]) for index in range(len(names))]
        channels["strokeDash"] = channel(dashes)
    return channels


def reference_lines(references: Sequence[Reference], axis: str, along: Spec, values: Sequence[float]) -> list[Spec]:
    """A dashed line and its label at every reference along the axis "x" or "y", encoded as `along`, on which `values`
    lie too.

    Labels of upright lines stand above the chart and lean to its middle; those of level lines take turns left and
    right, above the line but for the lowest of several.
    """
    layers = []
    centre = middle([*values, *(reference.value for reference in references)])
    along = {**along, "field": "position"}
    for number, reference in enumerate(references):
        data = [{"position": reference.value, "label": reference.label}]
        colour = HIGHLIGHT if reference.highlight else GREY
        layers.append(layer("rule", {axis: along}, data=data, color=colour, strokeDash=[5, 4]))
        text: Spec = {axis: along, "text": nominal("label")}
        if axis == "x":
            align = "right" if reference.value > centre else "left"
            text["y"] = {"value": -8 - 14 * number}
            layers.append(layer("text", text, data=data, align=align, fontSize=11))
        else:
            right = number % 2
            below = len(references) > 1 and reference.value == min(each.value for each in references)
            align = "right" if right else "left"
            text["x"] = {"value": "width" if right else 4}
            layers.append(layer("text", text, data=data, align=align, dy=8 if below else -6, fontSize=11))
    return layers


def tooltips(fields: Fields, number: str) -> list[Spec]:
    """What hovering shows: texts as they are, numbers in the format `number` or one of their own."""
    tips = []
    for entry in fields.tooltip:
        name, _, kind = entry.partition(":")
        title = fields.titles.get(name, name)
        tips.append(
            nominal(name, title=title) if kind == "N" else quantitative(name, format=kind or number, title=title)
        )
    return tips


def middle(values: Sequence[float | None]) -> float:
    """Halfway between the smallest and the largest; 0 where there is none."""
    numbers = [value for value in values if value is not None]
    return (min(numbers) + max(numbers)) / 2 if numbers else 0.0


def finished(layers: Sequence[Spec], *, data: Records | None = None, height: int = HEIGHT, **more: Any) -> Spec:
    """The chart of layers by its rows (`data`), with the theme, as wide as what it is put into. Rows are named by their
    content, so that layers with the same rows hold them once."""
    datasets: Spec = {}

    def named(rows: Records) -> Spec:
        values = [dict(row) for row in rows]
        text = json.dumps(values, sort_keys=True, default=str)
        name = f"data-{hashlib.sha256(text.encode()).hexdigest()[:32]}"
        datasets[name] = values
        return {"name": name}

    whole: Spec = {} if data is None else {"data": named(data)}
    drawn = [{**one, "data": named(one["data"])} if "data" in one else one for one in layers]
    size = {"height": height, "width": "container"}
    return {"config": THEME, "layer": drawn, **whole, **size, **more, "datasets": datasets}
