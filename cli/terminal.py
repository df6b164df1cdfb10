"""What a person sees: progress, notes and tables. JSON goes to stdout alone; everything else then goes to stderr."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from structure.cli import collector
from structure.cli.advice import complete
from structure.cli.stopping import stop_by_exception
from structure.pipeline.progress import Event, Listener, Note, Progress
from structure.pipeline.strict_json import strict

PLAIN_EVERY = 5.0  # seconds between progress lines where there is no terminal


class Terminal:
    """Draws a stage's events on stderr, and its outcome on stdout: a table, or one JSON document under `--json`."""

    def __init__(self, *, as_json: bool, quiet: bool) -> None:
        from rich.console import Console

        self.as_json, self.quiet = as_json, quiet
        # A file or a pipe has no width, and a program that reads it wants whole cells.
        self.out = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 400)
        self.err = Console(file=sys.stderr, highlight=False)

    @contextmanager
    def working(self) -> Iterator[Listener]:
        """A listener for a stage's events: a bar with rate and time left on a terminal, plain lines otherwise.

        From here on there may be something to release: Ctrl-C becomes an exception, and garbage is collected as usual.
        """
        stop_by_exception()
        collector.usual()
        if self.quiet:
            yield lambda event: None
        elif self.err.is_terminal and not self.err.is_dumb_terminal:  # a dumb one cannot move the cursor back
            with _Bars(self.err) as bars:
                yield bars
        else:
            yield _Lines(self.err)

    def say(self, text: str) -> None:
        """A line for the reader, never for a program."""
        if not self.quiet:
            self.err.print(complete(text), markup=False, soft_wrap=True)

    def document(self, value: Any) -> None:
        """The one JSON document of `--json`; NaN and infinity become null, since JSON has neither."""
        print(json.dumps(strict(value), indent=1, ensure_ascii=False, allow_nan=False))

    def table(self, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, title: str = "") -> None:
        """A table on stdout; numbers are right-aligned. Cells and title are printed as they are, never read as markup.

        Where there is no terminal, or a dumb one, it is plain lines: columns that two spaces keep apart, no frame.
        """
        from rich import box
        from rich.table import Table
        from rich.text import Text

        framed = self.out.is_terminal and not self.out.is_dumb_terminal
        table = Table(
            title=Text(title) if title else None,
            title_justify="left",
            header_style="bold",
            box=box.HEAVY_HEAD if framed else None,
            padding=(0, 1) if framed else (0, 2, 0, 0),
            pad_edge=framed,
        )
        for name in columns:
            numeric = all(isinstance(row.get(name), int | float | None) for row in rows)
            table.add_column(name, justify="right" if numeric else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(shown(row.get(name))) for name in columns))
        if framed:
            self.out.print(table)
            return
        with self.out.capture() as drawn:
            self.out.print(table)
        self.out.file.write("".join(f"{line.rstrip()}\n" for line in drawn.get().splitlines()))


def shown(value: Any) -> str:
    """A cell: three decimals for a fraction, two figures of what these would hide, thousands separators for a count, a
    dash for nothing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, float):
        if 0 < abs(value) < 0.0005:
            return f"{value:.1e}"
        return f"{value:.3f}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


class _Pace:
    """Units a second of each kind of work; work that begins again (the next training run) is timed afresh."""

    def __init__(self) -> None:
        self.began: dict[str, tuple[float, int]] = {}
        self.last: dict[str, int] = {}

    def rate(self, event: Progress) -> float | None:
        """None in the first half second, when there is nothing to tell."""
        now = time.monotonic()
        if event.what not in self.began or event.done < self.last[event.what]:
            self.began[event.what] = (now, event.done)
        self.last[event.what] = event.done
        began, first = self.began[event.what]
        return (event.done - first) / (now - began) if now - began > 0.5 else None


class _Bars:
    """One bar per kind of work."""

    def __init__(self, console: Any) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        self.bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
        )
        self.tasks: dict[str, Any] = {}
        self.pace = _Pace()

    def __enter__(self) -> _Bars:
        self.bars.start()
        return self

    def __exit__(self, *ignored: object) -> None:
        self.bars.stop()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Note):
            self.bars.console.print(complete(event.text), markup=False, soft_wrap=True)
            return
        if event.what not in self.tasks:
            self.tasks[event.what] = self.bars.add_task(event.what, total=event.total, completed=event.done, rate="")
        rate = self.pace.rate(event)
        told = "" if rate is None else paced(rate, event.unit)
        self.bars.update(self.tasks[event.what], completed=event.done, total=event.total, rate=told)


class _Lines:
    """A line every few seconds, and one when the work is done."""

    def __init__(self, console: Any) -> None:
        self.console = console
        self.told: dict[str, float] = {}
        self.pace = _Pace()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Note):
            self.console.print(complete(event.text), markup=False, soft_wrap=True)
            return
        now, rate = time.monotonic(), self.pace.rate(event)
        finished = event.done >= event.total
        if not finished and now - self.told.setdefault(event.what, now) < PLAIN_EVERY:
            return
        self.told[event.what] = now
        line = f"{event.what}: {event.done:,} of {event.total:,} {event.unit}"
        if rate is not None:
            line += f", {paced(rate, event.unit)}"
        if rate and not finished:
            line += f", {duration((event.total - event.done) / rate)} left"
        self.console.print(line, markup=False, soft_wrap=True)


def paced(rate: float, unit: str) -> str:
    """`1,200 rows/s`, and what takes longer than a second by the minute: `12 tasks/min`."""
    return f"{rate:,.0f} {unit}/s" if rate >= 1 else f"{60 * rate:.0f} {unit}/min"


def duration(seconds: float) -> str:
    """`2 h 5 min`, `3 min 20 s` or `12 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


__all__ = ["Progress", "Terminal", "duration", "shown"]
