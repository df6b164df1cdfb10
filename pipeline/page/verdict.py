"""The verdict: which aligner is best, by how much and how surely, what to be wary of, and what to type next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from structure.pipeline.metrics.intervals import multiplicity, signed
from structure.pipeline.page.blocks import Figure, Finding, Section, Verdict, plural
from structure.pipeline.page.caveats import Caveats, has_random_start
from structure.pipeline.page.forecast import forecast
from structure.pipeline.page.leaderboard import Leaderboard, Margin, Standing, headline_boards
from structure.pipeline.page.metric_names import display_name, other_direction
from structure.pipeline.page.next_command import baseline, more_seeds, remake, search
from structure.pipeline.page.pairs_used import pairs_in_words
from structure.pipeline.page.source import Source
from structure.pipeline.page.structure_effect import structure_effect
from structure.pipeline.page.unevaluated import unevaluated
from structure.pipeline.results import HELD_OUT

BASELINES = ("ridge", "linear")
"""What another method should beat: the closed form, and the trained linear maps without R_S."""

TASKS = (HELD_OUT, "zeroshot_retrieval", "zeroshot_classification", "image_caption_selection", "segmentation")
"""Of two tests of as many variants the verdict is by the one whose task is first here."""

MOST_NAMED = 3


def section(source: Source) -> Section:
    """What the store says so far, in one screen."""
    boards = headline_boards(source.leaderboards)
    verdict = _verdict(source, boards) if boards else unevaluated(source)
    return Section("verdict", "Verdict", [verdict])


def _verdict(source: Source, boards: list[Leaderboard]) -> Verdict:
    board = min(boards, key=_suitable)
    found = Caveats(source, board)
    over = {method: _baseline(source, board, method) for method in BASELINES}
    missing = [method for method, standing in over.items() if standing is None]
    findings = [Finding("Comparison", _comparison(board)), *found.cautions()]
    findings += [*_other_direction(source, board), *_other_tests(boards, board), *_selection(source, board, missing)]
    findings += [*structure_effect(source, board), *forecast(source), *found.data()]
    findings.append(_next(source, board, missing, found))
    figures = [
        Figure(display_name(board.metric), f"{board.best.value:.3f}", _interval(board.best)),
        *_chance(board),
        *(_margin_figure(source, board, method, standing) for method, standing in over.items()),
        Figure("test samples", f"{board.n:,}", _training(source, board)),
    ]
    return Verdict(_headline(source, board), figures, findings)


def _suitable(board: Leaderboard) -> tuple[Any, ...]:
    """Tests that no aligner was trained on first, then those with most variants, tasks in their order, large tests."""
    leaks = any(run.provenance.get("items_trained_on") for runs in board.runs.values() for run in runs.values())
    order = TASKS.index(board.task) if board.task in TASKS else len(TASKS)
    return leaks, -len(board.runs), order, -board.n, board.question


def _headline(source: Source, board: Leaderboard) -> str:
    best = board.best
    method = source.aligners[best.result.aligner].get("options", {}).get("method")
    name = f"{best.variant} ({method})" if method else best.variant
    value = f"{display_name(board.metric)} {best.value:.3f}{_between(best)}"
    value += "" if board.chance is None else f", chance {board.chance:.3f}"
    equal = [each.variant for each in board.standings[1:] if each.value == best.value]
    behind = [variant for variant in board.level if variant not in equal]
    if len(board.standings) == 1:
        words = f"{name} reaches {value}, on {board.test}."
    elif equal:
        words = f"{name} and {_named(equal, most=1)} have the same highest value on {board.test}: {value}."
    elif behind or None in board.margins.values():
        words = f"{name} leads on {board.test}: {value}."
    else:
        words = f"{name} is the best of {len(board.standings)} on {board.test}: {value}."
    if behind:
        words += f" {'The' if equal else 'Its'} lead over {_named(behind, most=1)} is not statistically significant."
    if board.chance is not None and best.low <= board.chance:
        words += " It is not significantly above chance."
    return words


def _comparison(board: Leaderboard) -> str:
    """How many others are significantly below the best, and what several intervals at once mean."""
    if not board.margins:
        return "No other aligner was evaluated on these samples, so nothing is compared."
    known = {name: margin for name, margin in board.margins.items() if margin is not None}
    clear = sum(margin.is_significant for margin in known.values())
    others = plural(len(board.margins), "other aligner")
    words = f"It is significantly above {clear} of {others}, paired on the same samples"
    if board.level:
        words += f"; the difference to {_named(board.level)} is not statistically significant"
    words += ". "
    unpaired = [name for name, margin in board.margins.items() if margin is None]
    if unpaired:
        words += f"Not compared, without saved predictions of the same samples: {_named(unpaired)}. "
    words += multiplicity((margin.low, margin.high) for margin in known.values())
    return words + " The best was chosen by these same samples, so its value is slightly too high."


def _other_direction(source: Source, board: Leaderboard) -> Iterator[Finding]:
    """The same retrieval the other way round."""
    opposite = other_direction(board.metric)
    for other in source.leaderboards:
        if opposite != board.metric and (other.question, other.metric) == (board.question, opposite):
            best, metric = other.best, display_name(opposite)
            words = f"{metric}: "
            if best.variant == board.best.variant:
                words += f"{best.variant} is first too, {best.value:.3f}{_between(best)}"
            else:
                words += f"{best.variant} is first, {best.value:.3f}{_between(best)}"
                margin = other.margins.get(board.best.variant)
                if margin is not None:
                    words += f", {margin.value:+.3f} against {board.best.variant} {_significance(margin)}"
            chance = "" if other.chance is None else f"; chance {other.chance:.3f}"
            yield Finding("Other direction", f"{words}{chance}.")


def _other_tests(boards: list[Leaderboard], board: Leaderboard) -> Iterator[Finding]:
    """On how many of the other tests it is the best, or level with the best."""
    name = board.best.variant
    others = [each for each in boards if each is not board and name in each.runs and len(each.runs) > 1]
    if not others:
        return
    first = sum(each.best.variant == name for each in others)
    level = sum(name in each.level for each in others)
    yield Finding(
        "Other tests",
        f"It is first on {first} of {plural(len(others), 'other test')}; on {level} its difference to the first is not "
        "statistically significant.",
    )


def _baseline(source: Source, board: Leaderboard, method: str) -> Standing | None:
    """The best variant of a plain method on the test, one on the layers of the best if there is any."""
    best = source.aligners[board.best.result.aligner].get("layers")
    found = [
        standing
        for standing in board.standings
        if (options := source.aligners[standing.result.aligner].get("options", {})).get("method") == method
        and options.get("regulariser") != "structure"
    ]
    same = [each for each in found if source.aligners[each.result.aligner].get("layers") == best]
    return next(iter([*same, *found]), None)


def _margin_figure(source: Source, board: Leaderboard, method: str, standing: Standing | None) -> Figure:
    label = f"over {method}"
    if standing is None:
        return Figure(label, "-", "not evaluated on this test")
    if standing.variant == board.best.variant:
        return Figure(label, "-", f"the best is {method}")
    margin = board.margins[standing.variant]
    if margin is None:
        return Figure(label, f"{board.best.value - standing.value:+.3f}", "not paired: no interval")
    layers = [source.aligners[each.result.aligner].get("layers") for each in (board.best, standing)]
    others = "" if layers[0] == layers[1] else ", on other layers"
    return Figure(label, f"{margin.value:+.3f}", _significance(margin) + others)


def _chance(board: Leaderboard) -> Iterator[Figure]:
    if board.chance is not None:
        times = f"the best is {board.best.value / board.chance:.1f} times that" if board.chance else ""
        yield Figure("chance", f"{board.chance:.3f}", times)


def _training(source: Source, board: Leaderboard) -> str:
    pairs = pairs_in_words(source.aligners[board.best.result.aligner])
    trained = f"trained on {pairs}, " if pairs else ""
    return trained + plural(len(board.best.runs), "seed")


def _selection(source: Source, board: Leaderboard, missing: list[str]) -> Iterator[Finding]:
    """Why the method was selected; where baselines were not evaluated, what they scored in the same folds."""
    for standing in board.standings:
        selection: Mapping[str, Any] = source.aligners[standing.result.aligner].get("selection") or {}
        if not selection:
            continue
        words = str(selection["why"])
        folds = [_in_folds(selection, method) for method in missing]
        if any(folds):
            words += f" In the same folds: {', '.join(filter(None, folds))}."
        margin = board.margins.get(standing.variant)
        if margin is not None:
            words += f" On this test the selected one is {margin.value:.3f} below the best {_significance(margin)}."
        yield Finding("Selection", words)
        return


def _in_folds(selection: Mapping[str, Any], method: str) -> str:
    """The best score of a plain method among the candidates; "" where it was none."""
    scores = [
        (row["score"], row["se"] or 0.0)
        for row in selection["candidates"]
        if row["method"] == method and row["score"] is not None and row["options"].get("regulariser") != "structure"
    ]
    return f"{method} {max(scores)[0]:.3f} ±{max(scores)[1]:.3f}" if scores else ""


def _next(source: Source, board: Leaderboard, missing: list[str], found: Caveats) -> Finding:
    """What makes the verdict surer, else what uses the best aligner."""
    if found.stale:
        return Finding("Next", f"Make {found.stale[0]['what']} again:", remake(source, found.stale[0]))
    if missing:
        commands = tuple(baseline(source, board, method) for method in missing)
        return Finding("Next", f"Evaluate {' and '.join(missing)} on the same test:", commands)
    if len(board.best.runs) == 1 and has_random_start(source, board.best):
        return Finding("Next", "Train the best with several seeds:", (more_seeds(source, board),))
    return Finding("Next", "Use the best aligner:", (search(source, board.best.result.aligner),))


def _interval(standing: Standing) -> str:
    return f"95 % interval{_between(standing)}" if _between(standing) else "no interval from one sample"


def _between(standing: Standing) -> str:
    return f" [{standing.low:.3f}, {standing.high:.3f}]" if standing.low == standing.low else ""


def _significance(margin: Margin) -> str:
    clear = "" if margin.is_significant else ", not statistically significant"
    return f"{signed(margin.value, margin.low, margin.high).partition(' ')[2]}{clear}"


def _named(names: list[str], *, most: int = MOST_NAMED) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
