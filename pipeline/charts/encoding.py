"""What charts are put together from: fields of rows, series, reference lines, tooltips, inline data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from structure.pipeline.charts.theme import DASHES, GREY, HEIGHT, HIGHLIGHT, SERIES, THEME, Spec

if TYPE_CHECKING:
    import altair as alt

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


def series_colours(field: str, names: Sequence[str], title: str) -> Spec:
    """Colour, and beyond ten series also the dashes of the line: two of a colour then still differ."""
    import altair as alt

    legend = alt.Legend(orient="bottom", columns=1, direction="vertical") if len(names) > 1 else None
    hues = [SERIES[index % len(SERIES)] for index in range(len(names))]
    scale = alt.Scale(domain=list(names), range=hues)
    channels: Spec = {"color": alt.Color(field=field, type="nominal", scale=scale, title=title, legend=legend)}
    if len(names) > len(SERIES):
        dashes = [list(DASHES[index // len(SERIES) % len(DASHES)]) for index in range(len(names))]
        scale = alt.Scale(domain=list(names), range=dashes)
        channels["strokeDash"] = alt.StrokeDash(field=field, type="nominal", scale=scale, title=title, legend=legend)
    return channels


def reference_lines(references: Sequence[Reference], channel: Any, values: Sequence[float]) -> list[alt.Chart]:
    """A dashed line and its label at every reference along the channel's axis, on which `values` lie too.

    Labels of upright lines stand above the chart and lean to its middle; those of level lines take turns left and
    right, above the line but for the lowest of several.
    """
    import altair as alt

    layers = []
    upright = isinstance(channel, alt.X)
    centre = middle([*values, *(reference.value for reference in references)])
    for number, reference in enumerate(references):
        data = inline([{"position": reference.value, "label": reference.label}])
        along = channel.copy()
        along.field = "position"
        colour = HIGHLIGHT if reference.highlight else GREY
        layers.append(alt.Chart(data).mark_rule(strokeDash=[5, 4], color=colour, aria=False).encode(along))
        if upright:
            align = "right" if reference.value > centre else "left"
            text = alt.Chart(data).mark_text(align=align, fontSize=11, aria=False)
            across: Spec = {"y": alt.value(-8 - 14 * number)}
        else:
            right = number % 2
            below = len(references) > 1 and reference.value == min(each.value for each in references)
            align = "right" if right else "left"
            text = alt.Chart(data).mark_text(align=align, dy=8 if below else -6, fontSize=11, aria=False)
            across = {"x": alt.value("width" if right else 4)}
        layers.append(text.encode(along, alt.Text(field="label", type="nominal"), **across))
    return layers


def tooltips(fields: Fields, number: str) -> Any:
    """What hovering shows: texts as they are, numbers in the format `number` or one of their own."""
    import altair as alt

    tips = []
    for entry in fields.tooltip:
        name, _, kind = entry.partition(":")
        title = fields.titles.get(name, name)
        tips.append(
            alt.Tooltip(field=name, type="nominal", title=title)
            if kind == "N"
            else alt.Tooltip(field=name, type="quantitative", title=title, format=kind or number)
        )
    return tips


def inline(rows: Iterable[Mapping[str, Any]]) -> alt.InlineData:
    """Rows inside the specification."""
    import altair as alt

    return alt.InlineData(values=[dict(row) for row in rows])


def middle(values: Sequence[float | None]) -> float:
    """Halfway between the smallest and the largest; 0 where there is none."""
    numbers = [value for value in values if value is not None]
    return (min(numbers) + max(numbers)) / 2 if numbers else 0.0


def finished(chart: Any, *, height: int = HEIGHT) -> Spec:
    """The specification with the theme, as wide as what it is put into."""
    spec: Spec = chart.properties(width="container", height=height).configure(**THEME).to_dict(validate=False)
    del spec["$schema"]  # an address that nobody needs to ask
    return spec
