"""`structure store rm` and `structure store drop-items`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from structure.cli.options import DEFAULT_STORE, JsonOption, StoreOption
from structure.cli.terminal import Terminal
from structure.store.errors import UsageError


def rm(
    name: Annotated[
        str,
        typer.Argument(
            help="aligners/NAME, rankings/ID, results/ALIGNER, curves/NAME, reports/RECIPE, "
            "features/DATASET/SPLIT/ENCODER, or all below features/DATASET."
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; without this, nothing is removed.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go and what stays.")] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Say what depends on an aligner, a ranking, results or features; remove it, with what would dangle, under --yes.

    Without --yes nothing is removed, and the exit code is 1.

    Example: structure store rm aligners/first-try --yes
    """
    from structure.pipeline.run_context import RunContext
    from structure.pipeline.stages.remove import RemoveRequest, plan, run

    _require_one(yes=yes, dry_run=dry_run)
    request, context = RemoveRequest(name), RunContext.of(store)
    done = run(request, context) if yes else plan(request, context)
    terminal = Terminal(as_json=as_json, quiet=False)
    rows = [{"what": part.key, "why": part.why, "bytes": part.bytes} for part in done.parts]
    if as_json:
        terminal.document({"store": store, "removed": yes, "parts": rows, "stays": list(done.stays)})
    else:
        terminal.table(rows, ["what", "why", "bytes"])
        for sentence in done.stays:
            terminal.say(sentence)
        end = "removed." if yes else "would go. Nothing was removed; to remove: --yes"
        terminal.say(f"{len(rows)} of these, {done.bytes:,} bytes, {end}")
    raise typer.Exit(0 if yes or dry_run else 1)


def drop_items(
    dataset: Annotated[str, typer.Option(help="Dataset of the store; all its splits.")],
    ids: Annotated[
        Path | None,
        typer.Option(help="Text file, one id a line. Without it, what an interrupted run began is finished."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this, nothing is withdrawn.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be overwritten and go.")] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Say what withdrawing samples takes; under --yes, overwrite their rows everywhere. Nothing is extracted again.

    Ids, captions and labels leave the sample index. What holds rows or answers of them is removed: neighbours, aligned
    embeddings, results, aligners whose weights are training rows. Files outside the store are not touched. Without
    --yes nothing is changed, and the exit code is 1.

    Example: structure store drop-items --dataset clinic --ids withdrawn.txt --yes
    """
    from structure.pipeline.run_context import RunContext
    from structure.pipeline.stages.drop_items import DropItemsRequest, plan, run

    _require_one(yes=yes, dry_run=dry_run)
    request, terminal = DropItemsRequest(dataset, ids=_ids(ids)), Terminal(as_json=as_json, quiet=False)
    with terminal.working() as listener:
        context = RunContext.of(store, on_event=listener)
        done = run(request, context) if yes else plan(request, context)
    if as_json:
        document = {"store": store, "dry_run": not yes, "samples": dict(done.samples), "rows": dict(done.rows)}
        document |= {"removed": list(done.removed), "results": dict(done.results), "stale": list(done.stale)}
        terminal.document({**document, "elsewhere": list(done.elsewhere)})
        raise typer.Exit(0 if yes or dry_run else 1)
    rows = [{"features": key, "withdrawn rows": count} for key, count in done.rows.items()]
    if rows:
        terminal.table(rows, list(rows[0]))
    if done.removed:
        gone = "removed" if yes else "would go"
        terminal.table([{gone: key} for key in done.removed], [gone])
    for name, count in done.results.items():
        terminal.say(f"{count:,} results of {name} and their reports: {'removed' if yes else 'would go'}")
    for sentence in done.stale:
        terminal.say(f"{sentence}: stale, see structure status")
    for other, split, item in done.elsewhere:
        terminal.say(f"The same content is in {other}/{split} as {item}; it stays there.")
    told = ", ".join(f"{count:,} in {split}" for split, count in done.samples.items()) or "none that was not before"
    verb = "Withdrawn" if yes else "Would be withdrawn"
    terminal.say(f"{verb}: {told}. Exports, indexes and copies outside the store are not touched.")
    if yes:
        terminal.say("A structure serve that is running shows them no longer, from its next request on.")
    else:
        terminal.say("Nothing was withdrawn; to do it: --yes")
    raise typer.Exit(0 if yes or dry_run else 1)


def _require_one(*, yes: bool, dry_run: bool) -> None:
    if yes and dry_run:
        raise UsageError("--yes removes and --dry-run only says what would go. Leave one of them out.")


def _ids(file: Path | None) -> list[str]:
    """The lines of a file of ids. Raises UsageError for one without any, or that cannot be read."""
    if file is None:
        return []
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").split("\n")]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--ids {file} cannot be read as text: {error}.") from None
    found = list(dict.fromkeys(filter(None, lines)))
    if not found:
        raise UsageError(f"--ids {file} holds no id. Write one id a line, as the samples are called in the dataset.")
    return found
