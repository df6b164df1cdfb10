"""`structure store ...`: look after the store."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from structure.cli.flags import DataFlags, StoreFlags, TrustFlags, takes_flags
from structure.cli.option_values import CommandGroup
from structure.cli.options import DEFAULT_STORE, JsonOption, StoreOption
from structure.cli.store_removal import drop_items, rm
from structure.cli.terminal import Terminal
from structure.store.errors import UsageError

app = typer.Typer(
    help="Look after the store.\n\nExample: structure store verify", no_args_is_help=True, cls=CommandGroup
)

KeyArgument = Annotated[str | None, typer.Argument(help="<dataset>/<split>/<encoder>; all feature sets by default.")]


@app.command("ls")
def ls(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """List feature sets: dataset, split, encoder, layers, rows, bytes, state.

    Example: structure store ls
    """
    from structure.pipeline.inference.embedding_records import embedding_rows
    from structure.store import open_store

    opened = open_store(store)
    rows = [
        {
            "features": features.key,
            "modality": features.modality,
            "rows": len(features),
            "layers": len(features.layers),
            "tokens": len(features.token_layers),
            "bytes": features.manifest.size,
            "skipped": len(features.skipped),
            "state": features.state,
        }
        for features in opened.feature_sets()
    ]
    embeddings = embedding_rows(opened)
    terminal = Terminal(as_json=as_json, quiet=False)
    if as_json:
        terminal.document({"store": opened.url, "features": rows, "embeddings": embeddings})
    elif rows:
        terminal.table(rows, list(rows[0]))
        if embeddings:
            terminal.table(embeddings, list(embeddings[0]), title="Aligned embeddings")
    else:
        terminal.say(f"The store {opened.url} is empty. Fill it with: structure extract --model M --dataset D")


@app.command("info")
def info(
    key: Annotated[str, typer.Argument(help="<dataset>/<split>/<encoder>")],
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Show where a feature set comes from: model, weights digest, preprocessing, versions, layers and widths.

    Example: structure store info coco/train/dinov2
    """
    from structure.store import open_store

    features = open_store(store)[key]
    manifest = features.manifest
    terminal = Terminal(as_json=as_json, quiet=False)
    document = {
        "features": features.key,
        "fingerprint": features.fingerprint,
        "state": features.state,
        "modality": manifest.modality,
        "rows": manifest.rows,
        "rows_of": manifest.rows_of,
        "captions": manifest.captions,
        "shard_rows": manifest.shard_rows,
        "skipped": {str(row): reason for row, reason in features.skipped.items()},
        "identity": manifest.identity,
        "provenance": manifest.provenance,
        "layers": [{"name": c.name, "width": c.width, "dtype": c.dtype} for c in manifest.columns],
        "tokens": [
            {
                "name": c.name,
                "width": c.width,
                "dtype": c.dtype,
                "tokens": c.tokens or "as the text",
                "prefix": c.prefix,
                "grid": list(c.grid) if c.grid else None,
                "bytes": c.size,
            }
            for c in manifest.tokens
        ],
    }
    if as_json:
        terminal.document(document)
        return
    flat = {name: value for name, value in document.items() if not isinstance(value, dict | list)}
    flat |= {f"identity.{path}": value for path, value in _leaves(manifest.identity)}
    flat |= {f"provenance.{path}": value for path, value in _leaves(manifest.provenance or {})}
    terminal.table([{"field": name, "value": str(value)} for name, value in flat.items()], ["field", "value"])
    terminal.table(document["layers"], ["name", "width", "dtype"], title="Layers")  # type: ignore[arg-type]
    if manifest.tokens:
        columns = ["name", "width", "dtype", "tokens", "prefix", "grid", "bytes"]
        terminal.table(document["tokens"], columns, title="Tokens")  # type: ignore[arg-type]


@app.command("verify")
def verify(key: KeyArgument = None, store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """Check every checksum and count. Exit code 1 if anything is wrong.

    Example: structure store verify
    """
    from structure.pipeline.inference.embedding_records import embedding_faults
    from structure.pipeline.stages.verify import verify_files
    from structure.store import StructureError, open_store

    opened = open_store(store)
    faults: dict[str, list[str]] = {}
    for name in [key] if key else opened.keys():
        try:
            faults[name] = [str(fault) for fault in opened[name].verify()]
        except StructureError as error:
            if key:
                raise
            faults[name] = [f"{name}: {error}"]
    embeddings = {} if key else embedding_faults(opened)
    kinds = [] if key else verify_files(opened)
    terminal = Terminal(as_json=as_json, quiet=False)
    if as_json:
        rows = [kind.row() | {"faults": kind.faults} for kind in kinds]
        terminal.document({"store": opened.url, "faults": {**faults, **embeddings}, "files": rows})
    else:
        for fault in itertools.chain(*faults.values(), *embeddings.values(), *(kind.faults.values() for kind in kinds)):
            typer.echo(fault)
        wrong = sum(1 for found in faults.values() if found)
        terminal.say(f"{len(faults)} feature sets of {opened.url} checked, {wrong} with faults.")
        if embeddings:
            spoilt = sum(1 for found in embeddings.values() if found)
            again = "; the next search computes them again" if spoilt else ""
            terminal.say(f"{len(embeddings)} sets of aligned embeddings checked, {spoilt} with faults{again}.")
        if kinds:
            terminal.table([kind.row() for kind in kinds], list(kinds[0].row()), title="Files made from them")
        if bare := sum(kind.without_digest for kind in kinds):
            terminal.say(f"{bare:,} files hold no digest: an earlier version wrote them. They were only read.")
    if any((*faults.values(), *embeddings.values(), *(kind.faults for kind in kinds))):
        raise typer.Exit(1)


@dataclass(frozen=True, kw_only=True)
class RepairFlags(TrustFlags, StoreFlags, DataFlags):
    """Which feature set to repair, and where its data and encoder are."""

    key: Annotated[str, typer.Argument(help="<dataset>/<split>/<encoder>")]
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0.")] = "auto"


@app.command("repair")
@takes_flags
def repair(flags: RepairFlags) -> None:
    """Repair a feature set: metadata are written again, damaged shards are extracted again, byte for byte.

    Example: structure store repair coco/train/dinov2
    """
    from structure.pipeline.run_context import RunContext
    from structure.pipeline.stages.repair import RepairRequest, run

    terminal = flags.terminal()
    context = RunContext.of(
        flags.store,
        data_root=flags.data_root,
        device=flags.device,
        trust_remote_code=flags.trust_remote_code,
    )
    with terminal.working() as listener:
        done = run(RepairRequest(flags.key), replace(context, on_event=listener))
    if flags.as_json:
        terminal.document({"features": flags.key, "faults": [str(fault) for fault in done.faults], "rows": done.rows})
    else:
        terminal.say(f"{flags.key}: {len(done.faults)} faults repaired, {done.rows:,} rows extracted again.")


@app.command("du")
def du(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """Show the bytes of every feature set and of everything made from them.

    Example: structure store du
    """
    from structure.store import open_store
    from structure.store.disk_usage import disk_usage

    found = disk_usage(open_store(store))
    terminal = Terminal(as_json=as_json, quiet=False)
    if as_json:
        terminal.document({"store": store, "bytes": found, "total": sum(found.values())})
    else:
        rows = [{"part": part, "bytes": size} for part, size in found.items()]
        terminal.table([*rows, {"part": "total", "bytes": sum(found.values())}], ["part", "bytes"])


@app.command("gc")
def gc(
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this, only say what would go.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go, as without --yes.")] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Say what nothing refers to any more, and why; remove it with --yes. Stop running extractions first.

    Without --yes nothing is removed, and the exit code is 1 where something would go.

    Example: structure store gc --yes
    """
    from structure.pipeline.stages.gc import orphans, remove
    from structure.store import open_store

    if yes and dry_run:
        raise UsageError("--yes removes and --dry-run only says what would go. Leave one of them out.")
    opened = open_store(store)
    orphaned = list(orphans(opened))
    if yes:
        for orphan in orphaned:
            remove(opened, orphan)
    terminal = Terminal(as_json=as_json, quiet=False)
    rows = [{"what": orphan.key, "why": orphan.why, "bytes": orphan.bytes} for orphan in orphaned]
    if as_json:
        terminal.document({"store": opened.url, "removed": yes, "orphans": rows})
        raise typer.Exit(0 if yes or dry_run or not rows else 1)
    if rows:
        terminal.table(rows, ["what", "why", "bytes"])
    total = sum(orphan.bytes for orphan in orphaned)
    terminal.say(f"{len(rows)} orphaned files, {total:,} bytes {'removed' if yes else 'would go with --yes'}.")
    raise typer.Exit(0 if yes or dry_run or not rows else 1)


@app.command("export")
def export(
    key: Annotated[str, typer.Argument(help="<dataset>/<split>/<encoder>")],
    file: Annotated[Path, typer.Argument(help="Ends in .npz, .safetensors or .parquet.")],
    layers: Annotated[str, typer.Option(help="Layers with commas; all by default.")] = "",
    tokens: Annotated[str, typer.Option(help="Layers whose tokens to write too, with commas; none by default.")] = "",
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Write layers of a feature set, with the sample ids, to one file.

    Example: structure store export coco/train/dinov2 dino.npz --layers block.11,final_norm
    """
    from structure.cli.choices import words
    from structure.store import open_store
    from structure.store.layers_file import write_layers

    path = write_layers(open_store(store)[key], file, words("--layers", layers), words("--tokens", tokens))
    terminal = Terminal(as_json=as_json, quiet=False)
    if as_json:
        terminal.document({"features": key, "file": str(path), "bytes": path.stat().st_size})
    else:
        typer.echo(path)


app.command("rm")(rm)
app.command("drop-items")(drop_items)


def _leaves(value: object, path: str = "") -> list[tuple[str, object]]:
    if not isinstance(value, dict):
        return [(path, value)]
    return [leaf for key, item in value.items() for leaf in _leaves(item, f"{path}.{key}" if path else key)]
