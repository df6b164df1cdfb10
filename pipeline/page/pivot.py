"""Aligners by metric: one row a variant, one column a metric, for each kind of task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from structure.pipeline.metrics.chance import SATURATED
from structure.pipeline.metrics.intervals import multiplicity
from structure.pipeline.metrics.registry import METRICS, pattern_of
from structure.pipeline.page.blocks import Block, Pivot, PivotCell, PivotColumn, PivotRow, Section, Text, plural
from structure.pipeline.page.leaderboard import Leaderboard, headline_boards
from structure.pipeline.page.pairs_used import pairs_in_words
from structure.pipeline.page.source import Source
from structure.pipeline.results import HELD_OUT

MOST_COLUMNS = 12
"""Columns of a table; of more tests than fit every one has its first metric alone."""

MOST_ROWS = 40
"""Variants of a table, the best by its first column."""

TITLES = {
    HELD_OUT: "retrieval of held-out pairs",
    "zeroshot_retrieval": "zero-shot retrieval",
    "zeroshot_classification": "zero-shot classification",
    "image_caption_selection": "caption selection",
    "linear_probe": "linear probe",
    "segmentation": "segmentation",
}


def section(source: Source) -> Section:
    """A table for each kind of task that was evaluated."""
    first = headline_boards(source.leaderboards)
    tasks: dict[str, list[Leaderboard]] = {}
    for board in source.leaderboards:
        if any(board is each for each in first) or _is_shown(board):
            tasks.setdefault(board.task, []).append(board)
    blocks: list[Block] = []
    for task in sorted(tasks, key=lambda name: list(TITLES).index(name) if name in TITLES else len(TITLES)):
        blocks += _tables(source, task, tasks[task])
    return Section("pivot", "Aligners by metric", blocks)


def _is_shown(board: Leaderboard) -> bool:
    """Fractions of which a larger one is better, and of which a random order reaches little."""
    pattern, _ = pattern_of(board.metric)
    if pattern not in METRICS:
        return True
    metric = METRICS[pattern]
    return metric.bounds == (0.0, 1.0) and metric.higher_is_better and (board.chance or 0.0) <= SATURATED


def _tables(source: Source, task: str, boards: Sequence[Leaderboard]) -> Iterator[Block]:
    shown = list(boards) if len(boards) <= MOST_COLUMNS else headline_boards(boards)
    for start in range(0, len(shown), MOST_COLUMNS):
        yield from _table(source, task, shown[start : start + MOST_COLUMNS])


def _table(source: Source, task: str, boards: Sequence[Leaderboard]) -> Iterator[Block]:
    names = list(dict.fromkeys(standing.variant for board in boards for standing in board.standings))
    several = len({board.question for board in boards}) > 1
    asked_twice = len({(board.test, board.metric) for board in boards}) < len(boards)
    columns = tuple(
        PivotColumn(board.metric, _test(board, asked_twice) if several else "", board.chance) for board in boards
    )
    rows = tuple(
        PivotRow(name, _about(source, boards, name), tuple(_cell(board, name) for board in boards))
        for name in names[:MOST_ROWS]
    )
    title = TITLES.get(task, task.replace("_", " "))
    data = "" if several else f" on {boards[0].test}, {boards[0].n:,} test samples"
    yield Pivot(f"{title[0].upper()}{title[1:]}{data}", columns, rows)
    if len(names) > MOST_ROWS:
        yield Text(f"The first {MOST_ROWS} of {len(names)} variants; the table of results has all.", small=True)
    known = [margin for board in boards for margin in board.margins.values() if margin is not None]
    if known:
        yield Text(multiplicity((margin.low, margin.high) for margin in known), small=True)


def _cell(board: Leaderboard, name: str) -> PivotCell | None:
    standing = next((each for each in board.standings if each.variant == name), None)
    if standing is None:
        return None
    best = standing is board.best
    compared = best or board.margins[name] is not None
    return PivotCell(standing.value, standing.low, standing.high, best, name in board.level, compared)


def _test(board: Leaderboard, asked_twice: bool) -> str:
    """The data, and suite and prompts where these tell two columns apart."""
    if not asked_twice:
        return board.test
    return ", ".join(filter(None, (board.test, board.question[0], board.best.result.provenance.get("prompt_set"))))


def _about(source: Source, boards: Sequence[Leaderboard], name: str) -> str:
    """Method, R_S, layers, pairs and seeds of a variant."""
    standing = next(each for board in boards for each in board.standings if each.variant == name)
    facts = source.aligners[standing.result.aligner]
    options, layers = facts.get("options", {}), facts.get("layers", {})
    parts = [str(options.get("method", ""))]
    if options.get("regulariser") == "structure":
        parts[0] += f" + R_S {options.get('weight'):g}"
    parts.append(" and ".join(str(layers[side]) for side in ("vision", "text") if side in layers))
    parts.append(pairs_in_words(facts))
    parts.append(plural(len(standing.runs), "seed"))
    return ", ".join(filter(None, parts))
