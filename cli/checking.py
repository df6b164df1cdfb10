"""`structure datasets check`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from structure.cli.options import DEFAULT_DATA, DataRootOption, JsonOption, QuietOption, TrustOption
from structure.cli.terminal import Terminal

if TYPE_CHECKING:
    from structure.pipeline.stages.check_data import Problem


def check(
    spec: Annotated[str, typer.Argument(help="Any dataset that --dataset takes: pairs:FILE, folder:DIR, coco, ...")],
    split: Annotated[
        list[str] | None, typer.Option("--split", help="Repeat for several; all that the data have by default.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Text model whose token limit captions are compared with.")] = None,
    trust_remote_code: TrustOption = False,
    data_root: DataRootOption = DEFAULT_DATA,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Read every sample and say what is wrong: files, ids, captions, classes, leaks. Exit code 1 on errors.

    Example: structure datasets check pairs:my.jsonl --model minilm
    """
    from structure.pipeline.encoders.loading import load_tokenizer
    from structure.pipeline.stages.check_data import check_data

    terminal = Terminal(as_json=as_json, quiet=quiet)
    with terminal.working() as listener:
        done = check_data(
            spec,
            data_root=data_root,
            splits=split or (),
            tokenizer=load_tokenizer(model, trust_remote_code=trust_remote_code) if model else None,
            on_event=listener,
        )
    document = done.to_json()
    if as_json:
        terminal.document(document)
    else:
        terminal.table(document["splits"], list(document["splits"][0]), title=spec)
        if document["classes"]:
            terminal.table(document["classes"], ["split", "task", "class", "items"], title="Classes")
        if done.problems:
            rows = [_row(problem) for problem in done.problems]
            terminal.table(rows, list(rows[0]), title="Problems")
        errors = sum(problem.level == "error" for problem in done.problems)
        terminal.say(f"{errors} kinds of errors, {len(done.problems) - errors} of warnings.")
    if not done.ok:
        raise typer.Exit(1)


def _row(problem: Problem) -> dict[str, Any]:
    """A row of the table. An error is shown with several examples, for each wants repairing."""
    examples = problem.examples if problem.level == "error" else problem.examples[:1]
    left = problem.left if problem.level == "error" else 0
    told = [*examples, f"and {left:,} more"] if left else examples
    return {"level": problem.level, "kind": problem.kind, "count": problem.count, "example": "\n".join(told)}
