"""Charts as PNG: of the given size, with their title, and every panel with its own data."""

from __future__ import annotations

import io
import resource
import subprocess
import sys
from typing import Any

import altair
import jsonschema
import numpy as np
import pytest
from PIL import Image

from structure.pipeline import charts
from structure.pipeline.charts import Fields, Reference, drawing_process
from structure.store.errors import MachineError

TITLES = {"a": "along", "b": "up"}


def image(png: bytes) -> np.ndarray:
    """(height, width, 3) int16 pixels."""
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(np.int16)


def near(pixels: np.ndarray, colour: str) -> np.ndarray:
    """(height, width) bool: which pixels have about that colour."""
    wanted = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    return np.asarray((np.abs(pixels - np.array(wanted)) < 48).all(axis=2))


def dots(*values: float) -> charts.Spec:
    return charts.points([{"a": value, "b": value} for value in values], Fields("a", "b", TITLES, ["a"]))


def test_every_kind_is_valid_vega_lite() -> None:
    rows = [{"a": at, "b": at / 3, "of": f"series {at % 12}", "low": at - 1.0, "high": at + 1.0} for at in range(1, 25)]
    titles = {**TITLES, "of": "of", "low": "from", "high": "to", "count": "rows"}
    fields, references = (
        Fields("a", "b", titles, ["of:N", "b:.2f"]),
        [Reference("one", 1.0), Reference("two", 2.0, True)],
    )
    drawn = [
        charts.points(rows, fields),
        charts.heatmap(rows, fields, value="b", order=(["x"], ["y"]), marked=rows[0], labels="of"),
        charts.lines(
            rows,
            fields,
            series="of",
            detail="a",
            low_high=("low", "high"),
            marks=charts.Marks(ringed=rows[:1], levels=references, stops=references),
            style=charts.LineStyle(logarithmic="~s"),
        ),
        charts.histogram([{**row, "count": 1} for row in rows], titles=titles, references=references),
        charts.intervals(rows, fields, low_high=("low", "high"), references=references),
    ]
    for spec in drawn:
        altair.Chart.from_dict(spec)  # raises where the schema does not know it
    drawn[2]["layer"][0]["encoding"]["x"]["scale"]["type"] = "nonsense"
    with pytest.raises(jsonschema.ValidationError):
        altair.Chart.from_dict(drawn[2])


def test_every_panel_has_its_own_dots() -> None:
    whole = charts.panels([("one", dots(0.0, 1.0)), ("two\nlines", dots(5.0, 6.0)), ("three", dots(2.0))], columns=2)
    blue = near(image(charts.png(whole)), charts.SERIES[0])
    height, width = blue.shape
    assert blue[: height // 2, : width // 2].any()
    assert blue[: height // 2, width // 2 :].any()
    assert blue[height // 2 :, : width // 2].any()
    assert not blue[height // 2 :, width // 2 :].any()


def test_a_chart_that_would_end_the_program_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library that draws aborts where the limit of addresses (`ulimit -v`) is too low."""
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (2**33, 2**33))
    with pytest.raises(
        MachineError, match=r"Drawing a chart takes 72.00 GiB .* limit of 8.00 GiB; .*ulimit -v unlimited"
    ):
        charts.png(dots(0.0))


def test_every_panel_has_its_own_lines() -> None:
    """A long line in the first panel, a short one in the second: neither is drawn in the other."""

    def line(*ups: float) -> charts.Spec:
        rows = [{"a": number, "b": up, "of": "one"} for number, up in enumerate(ups)]
        return charts.lines(
            rows, Fields("a", "b", TITLES | {"of": "of"}, ["a"]), series="of", style=charts.LineStyle(dots=False)
        )

    pixels = [
        near(image(charts.png(charts.panels(pair, columns=2))), charts.SERIES[0])
        for pair in ([("x", line(0, 9, 0, 9)), ("y", line(1, 1, 2))], [("x", line(1, 1, 2)), ("y", line(0, 9, 0, 9))])
    ]
    left, right = ([each[:, half].sum() for half in (slice(None, 640), slice(640, None))] for each in pixels)
    assert left[0] > 1.5 * left[1]
    assert right[1] > 1.5 * right[0]


def test_a_title_stands_above_and_the_width_is_kept() -> None:
    plain, titled = (
        image(charts.png(dots(0.0, 1.0), title=title, width=300)) for title in ("", "a title\nof two lines")
    )
    assert plain.shape[1] == titled.shape[1] > 600
    assert titled.shape[0] > plain.shape[0] + 40
    assert (plain[:4] == 255).all(), "drawn on white"
    wide = image(charts.png(dots(0.0, 1.0), width=400))
    assert wide.shape[1] - plain.shape[1] == 200


@pytest.mark.parametrize("highlight", [False, True])
def test_a_highlighted_reference_has_the_colour_of_what_was_chosen(highlight: bool) -> None:
    rows = [{"low": 0.0, "high": 1.0, "count": 3}]
    titles = {"low": "score", "high": "up to", "count": "permutations"}
    spec = charts.histogram(rows, titles=titles, references=[Reference("best", 2.0, highlight=highlight)])
    assert near(image(charts.png(spec)), charts.HIGHLIGHT).any() == highlight


def test_labels_of_several_lines_have_room_in_their_cells() -> None:
    rows = [{"a": "x", "b": "y", "score": 0.5, "label": "0.5\none\ntwo"}]
    fields, order = Fields("a", "b", {**TITLES, "score": "score"}, ["a:N"]), (["x"], ["y"])
    one, three = (charts.heatmap(rows, fields, value="score", order=order, labels=name) for name in ("a", "label"))
    assert three["height"] >= 3 * 14 > one["height"]


TWO = [("a title\nof two lines", dots(0.0, 1.0)), ("", dots(2.0))]


def test_a_process_of_its_own_draws_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = charts.draw_here(TWO)
    assert expected == [charts.png(spec, title=title) for title, spec in TWO]
    monkeypatch.setattr(drawing_process, "draw_here", lambda charts: [])
    with charts.DrawingProcess() as draw:
        assert draw(TWO) == expected


@pytest.mark.parametrize("fault", ["no program", "fails", "ends early", "no addresses"])
def test_where_the_process_fails_charts_are_drawn_here(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = resource.getrlimit
    if fault == "no program":
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
    elif fault == "no addresses":
        monkeypatch.setattr(resource, "getrlimit", lambda kind: (2**33, 2**33))
    else:
        end = "raise SystemExit(1)" if fault == "fails" else "raise SystemExit"
        monkeypatch.setattr(drawing_process, "DRAW", f"import sys; sys.stdin.read(); {end}")
    with charts.DrawingProcess() as draw:
        monkeypatch.setattr(resource, "getrlimit", limits)
        assert draw(TWO) == charts.draw_here(TWO)


def test_a_process_without_charts_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Started(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Started)
    with pytest.raises(KeyboardInterrupt), charts.DrawingProcess():
        raise KeyboardInterrupt
    (process,) = started
    assert process.returncode is not None
