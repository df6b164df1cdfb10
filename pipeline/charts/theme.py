"""Colours and fonts of every chart.

Texts and axes have the colour of the page around them (`currentColor`), so that one drawing serves light and dark.
"""

from __future__ import annotations

from typing import Any, TypeAlias

Spec: TypeAlias = dict[str, Any]

HIGHLIGHT = "#d6336c"
GREY = "#868e96"
SERIES = ("#1c7ed6", "#d97706", "#2f9e44", "#ae3ec9", "#e03131", "#0c8599", "#a0703c", "#e64980", "#5c7cfa", "#5c940d")
"""Three to one or more against the background of the page, light and dark (WCAG 1.4.11)."""

DASHES = ((1, 0), (6, 3), (2, 2), (8, 2, 2, 2))
HEIGHT = 260

THEME: Spec = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"continuousHeight": 300, "continuousWidth": 300, "stroke": None},
    "axis": {
        "labelColor": "currentColor",
        "titleColor": "currentColor",
        "domainColor": GREY,
        "tickColor": GREY,
        "gridColor": GREY,
        "gridOpacity": 0.2,
        "labelFontSize": 11,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titlePadding": 10,
        "labelLimit": 240,
    },
    "legend": {
        "labelColor": "currentColor",
        "titleColor": "currentColor",
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "labelLimit": 420,
        "symbolLimit": 40,
    },
    "title": {"color": "currentColor", "fontSize": 13, "fontWeight": "normal", "anchor": "start", "offset": 14},
    "text": {"color": "currentColor"},
    "range": {"category": list(SERIES)},
}
