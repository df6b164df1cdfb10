"""`structure datasets`: list them, get them, export them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from structure.cli.flags import DataFlags, takes_flags
from structure.cli.option_values import CommandGroup
from structure.cli.options import DEFAULT_DATA, DataRootOption, JsonOption, QuietOption
from structure.cli.terminal import Terminal


class NameOrCommand(CommandGroup):
    """`structure datasets coco` shows coco: a word that is no command is a name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words = [word for word in args if not word.startswith("-")]
        values = {args[at + 1] for at, word in enumerate(args[:-1]) if word == "--data-root"}
        first = next((word for word in words if word not in values), None)
        if first is None or first not in self.commands:
            helps = {"-h", "--help"} & set(args)
            args = args if helps and first is None else ["show", *args]
        return list(super().parse_args(ctx, args))


app = typer.Typer(
    cls=NameOrCommand,
    help="List the datasets that can be named, or show one; get, check and export them.\n\n"
    "Example: structure datasets coco",
    no_args_is_help=False,
)


@app.command("show", hidden=True)
def show(
    name: Annotated[str | None, typer.Argument(help="Show this one: where it is looked for, how to get it.")] = None,
    data_root: DataRootOption = DEFAULT_DATA,
    as_json: JsonOption = False,
) -> None:
    """List the datasets that can be named, whether they are here, and how to get them.

    Example: structure datasets coco
    """
    from structure.pipeline.datasets.loading import dataset_options, list_datasets, suggestion
    from structure.store.errors import unknown

    terminal = Terminal(as_json=as_json, quiet=False)
    rows = [{**listing.row(), "splits": ", ".join(listing.splits)} for listing in list_datasets(data_root)]
    if name is not None:
        kind = name.partition(":")[0]
        chosen: list[dict[str, Any]] = [row for row in rows if row["name"] == name]
        chosen += [row for row in rows if re.split(r"[:\[]", str(row["name"]))[0] == kind and ":" in str(row["name"])]
        if not chosen:
            raise unknown("dataset", name, [row["name"] for row in rows], hint=suggestion(name))
        if as_json:
            terminal.document({**chosen[0], "options": dataset_options(kind)})
        else:
            cells = {key: "" if value is None else str(value) for key, value in chosen[0].items()}
            cells |= {f"?{option}=": said for option, said in dataset_options(kind).items()}
            terminal.table([{"": key, "value": value} for key, value in cells.items() if value], ["", "value"])
        return
    for row in rows:
        row["here"] = {True: "yes", False: "no", None: ""}[row["present"]]
    if as_json:
        terminal.document({"data_root": str(data_root), "datasets": rows})
    else:
        terminal.table(rows, ["name", "here", "splits", "summary"])
        terminal.say("How to get one: structure datasets NAME")


@app.command("get")
def get(
    name: Annotated[str, typer.Argument(help="cifar10, coco, clip-benchmark:wds/vtab/dtd, ...")],
    data_root: DataRootOption = DEFAULT_DATA,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Download a dataset, check it and unpack it; run again, it goes on where it broke off.

    Example: structure datasets get cifar10
    """
    from structure.pipeline.datasets.loading import get_dataset

    terminal = Terminal(as_json=as_json, quiet=quiet)
    with terminal.working() as listener:
        done = get_dataset(name, data_root=data_root, on_event=listener)
    if as_json:
        terminal.document({"dataset": name, "folder": str(done.folder), "splits": done.splits, "fetched": done.fetched})
    else:
        how = f"{len(done.fetched)} files fetched" if done.fetched else "was here already"
        terminal.say(f"{name} ({', '.join(done.splits) or 'no split yet'}): {how}, in {done.folder}")


@dataclass(frozen=True, kw_only=True)
class WebdatasetFlags(DataFlags):
    """Which dataset is copied, and where to."""

    spec: Annotated[str, typer.Argument(help="Any dataset that --dataset takes: coco, folder:DIR, pairs:FILE, ...")]
    folder: Annotated[Path, typer.Argument(help="The copy, best called wds_<name>.")]
    split: Annotated[str | None, typer.Option(help="Which split is read; the dataset's own default.")] = None
    as_split: Annotated[str, typer.Option(help="What the split is called in the copy.")] = "test"
    task: Annotated[str | None, typer.Option(help="Whose labels are written; captions where there are some.")] = None


@app.command("export")
@takes_flags
def export(flags: WebdatasetFlags) -> None:
    """Write a dataset in CLIP_benchmark's webdataset layout.

    Example: structure datasets export folder:flowers data/wds_flowers
    """
    from structure.pipeline.datasets.loading import open_dataset
    from structure.pipeline.datasets.webdataset_export import export_webdataset

    terminal = flags.terminal()
    dataset = open_dataset(flags.spec, split=flags.split, data_root=flags.data_root)
    for note in dataset.notes:
        terminal.say(note)
    with terminal.working() as listener:
        done = export_webdataset(dataset, flags.folder, split=flags.as_split, task=flags.task, on_event=listener)
    if flags.as_json:
        terminal.document({**vars(done), "folder": str(done.folder)})
        return
    left = f", {done.unlabelled} without a label left out" if done.unlabelled else ""
    terminal.say(f"{done.items:,} samples ({done.form}) in {done.shards} shards of {done.folder}/{done.split}{left}.")
