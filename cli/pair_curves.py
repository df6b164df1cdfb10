"""`structure align --curve` over several methods: recall over the number of pairs, as table and figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from structure.cli.align_flags import selection_options, training_options
from structure.cli.consent import show_ahead
from structure.cli.sweeps import CURVE_TEST, which_seeds
from structure.store.errors import UsageError

if TYPE_CHECKING:
    from structure.cli.terminal import Terminal
    from structure.pipeline.pair_curves.curve import PairCurve

OF_ONE_RUN = ("grid", "compare", "suite", "pairs", "add", "memory", "tensorboard", "split_column", "yes")
"""Flags of trainings that are saved; a curve saves its numbers alone."""

SEEDS = "5"


def compares_methods(flags: Any) -> bool:
    """Whether the flags ask for a curve of several methods: methods with commas, or no pairs among the numbers."""
    from structure.cli.choices import words

    if flags.curve is None:
        return False
    return "," in (flags.method or "") or "0" in words("--curve", flags.curve)


def run_curve(flags: Any) -> None:
    """Fit what is not there, and show it. Raises UsageError and StructureError."""
    from structure.cli.choices import words
    from structure.cli.training import counts, given_options
    from structure.pipeline.aligners.options import DEFAULT_METHOD
    from structure.pipeline.pair_curves.request import PairCurveRequest
    from structure.pipeline.run_context import RunContext
    from structure.pipeline.stage_requests.align import AUTO

    given = [name for name in OF_ONE_RUN if getattr(flags, name)] + list(selection_options(flags))
    if given or flags.preset != "default":
        raise UsageError(
            f"--{(given or ['preset'])[0].replace('_', '-')} is no part of a curve of several methods. Leave it out, "
            "or train one method over several numbers of pairs: --curve 100,300 --method linear"
        )
    methods = words("--method", flags.method or DEFAULT_METHOD)
    if AUTO in methods:
        raise UsageError(
            "A curve of several methods compares named ones, and --method auto selects another for each number of "
            "pairs. Name them: --method ridge,linear,kernel-csa; or select one a number of pairs: --curve 100,300 "
            "--method auto"
        )
    training = given_options(training_options(flags), flags.setting or [], method=methods[0])
    first = training.pop("seed", None)
    request = PairCurveRequest(
        methods=methods,
        pairs=counts("--curve", flags.curve or "", such="0,10,100", least=0),
        layers=flags.layers,
        dataset=flags.dataset,
        split=flags.split,
        vision=flags.vision,
        text=flags.text,
        test=CURVE_TEST if flags.test is None else flags.test,
        seeds=which_seeds(SEEDS if flags.seeds is None else flags.seeds, first),
        unpaired=tuple(flags.unpaired or ()),
        fixed=training,
        name=flags.name,
        replace=flags.replace,
    )
    context = RunContext.of(flags.store, data_root=flags.data_root, device=flags.device)
    from structure.pipeline.stages.pair_curve import plan, run

    terminal = flags.terminal()
    if flags.dry_run:
        show_ahead(terminal, flags.store, [part.row() for part in plan(request, context)])
        return
    with terminal.working() as listener:
        done = run(request, replace(context, on_event=listener))
    if terminal.as_json:
        terminal.document(done.to_dict())
        return
    show(terminal, done)


def show(terminal: Terminal, curve: PairCurve) -> None:
    """A table for each of two metrics, the ceiling, what was refused, and where the figure is."""
    from structure.pipeline.pair_curves.fits import chance

    for metric in ("R@10", "FOSCTTM"):
        rows = curve.means(metric)
        variants = list(dict.fromkeys(row["variant"] for row in rows))
        sizes = sorted({row["pairs"] for row in rows})
        found = {(row["pairs"], row["variant"]): row for row in rows}
        table = [{"pairs": size, **{name: _cell(found.get((size, name))) for name in variants}} for size in sizes]
        by_chance = chance(metric, curve.test_pairs)
        title = f"{metric} of {curve.test_pairs:,} test pairs, 95 % intervals; chance {by_chance:.3f}"
        terminal.table(table, ["pairs", *variants], title=title)
        top = curve.ceiling(metric)
        if top is not None:
            terminal.say(f"Ceiling, all {curve.most:,} pairs: {top['variant']}, {metric} {_cell(top)}.")
    for reason in refusals(curve.means("R@10")):
        terminal.say(reason)
    terminal.say(f"Record and figure: {curve.place}")


def refusals(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why cells are empty, a sentence for each variant and reason."""
    told: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        if row["refused"]:
            told.setdefault((row["variant"], row["refused"]), []).append(row["pairs"])
    return [f"{name}, {', '.join(map(str, pairs))} pairs: {why}" for (name, why), pairs in told.items()]


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    if row["value"] is None:
        return "-"
    return f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
