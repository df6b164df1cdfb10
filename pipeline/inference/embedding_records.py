"""Which aligned embeddings are in a store, what they were made from, and whether that is still so; needs no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from structure.pipeline.aligners.aligner_runs import RECORD, aligner_record
from structure.store import Column, FeatureSet, Manifest, Store
from structure.store.column_layout import tokens_path
from structure.store.errors import DamageError, StructureError
from structure.store.fingerprint import differences, fingerprint
from structure.store.joined_rows import layer_names

FOLDER = "embeddings"
COLUMN = "aligned"
DTYPE = "float16"
"""Of unit rows: an entry is off by at most 2**-11 of itself, a cosine by some 3e-5."""

UNREAD = "aligned embeddings whose record does not read"


def prefix_of(aligner: str, key: str) -> str:
    """Where the embeddings of a feature set by an aligner lie."""
    return f"{FOLDER}/{aligner}/{key}"


def embedding_prefixes(store: Store) -> Iterator[str]:
    """All of them: `embeddings/<aligner>/<dataset>/<split>/<encoder>`."""
    found = [FOLDER]
    for _ in range(4):
        found = [f"{above}/{name}" for above in found for name in store.files.children(above)]
    yield from found


def aligner_identity(store: Store, name: str) -> dict[str, str]:
    """The run and the weights of an aligner. Raises FileNotFoundError, DamageError for a record that does not read."""
    try:
        record = aligner_record(store, name)
        return {"run": str(record["metadata"].get("run", "")), "weights": str(record["weights_sha256"])}
    except (KeyError, TypeError, AttributeError) as error:
        raise DamageError(f"aligners/{name}/{RECORD} does not read: {error}. Train the aligner again.") from None


def manifest_of(features: FeatureSet, alignment: Mapping[str, Any], *, dim: int) -> Manifest:
    """What the embeddings of these features are: the set's own record with one layer, `alignment` (the aligner's run,
    weights and layer) as part of its identity, and a digest of every shard that they are computed from."""
    own = features.manifest
    return Manifest(
        dataset=own.dataset,
        split=own.split,
        encoder=own.encoder,
        modality=own.modality,
        rows_of=own.rows_of,
        rows=own.rows,
        shard_rows=own.shard_rows,
        columns=(Column(COLUMN, dim, DTYPE),),
        identity={**own.identity, "alignment": dict(alignment)},
        captions=own.captions,
        views=own.views,
        provenance={"shards": _source_shards(features, str(alignment["layer"]))},
    )


def _source_shards(features: FeatureSet, path: str) -> list[str]:
    """A digest for each shard of what is stored of the column `path`, or of the layers that it joins: values, and which
    rows could not be read."""
    paths = (path,) if path.startswith(tokens_path("")) else layer_names(features, path)
    markers = features.completion.known()
    return [
        fingerprint(
            {
                "values": [list(markers[index].columns[each]) for each in paths],
                "skipped": sorted(markers[index].skipped),
            }
        )[:16]
        for index in range(len(features.manifest.shards))
    ]


def continues(old: Manifest, new: Manifest) -> bool:
    """Whether embeddings that are there are the first of the new ones: the same aligner, layer, encoder and options, of
    features that are the same or have more rows now."""
    fields = {path for path, _, _ in differences(new.identity, old.identity)}
    alike = (old.columns, old.shard_rows, old.rows_of) == (new.columns, new.shard_rows, new.rows_of)
    if old.rows == new.rows:
        return alike and not fields and old.provenance == new.provenance
    return alike and fields <= {"data.digest"} and old.rows < new.rows


def changed_shards(old: Manifest, new: Manifest) -> list[int]:
    """Shards of the old set that are no longer computed from the same features."""
    before, after = ((manifest.provenance or {}).get("shards", []) for manifest in (old, new))
    return [index for index, digest in enumerate(before) if digest != after[index]]


def why_stale(store: Store, prefix: str) -> str:
    """Why embeddings that are there will never be read again; "" where they will."""
    _, aligner, key = prefix.split("/", 2)
    try:
        there = FeatureSet.open(store.files, prefix).manifest
        alignment = dict(there.identity["alignment"])
    except (FileNotFoundError, StructureError, KeyError, TypeError, ValueError):
        return UNREAD
    try:
        if alignment | aligner_identity(store, aligner) != alignment:
            return f"aligned embeddings by an earlier aligner {aligner}"
    except (FileNotFoundError, DamageError):
        return f"aligned embeddings by {aligner}, which is not there"
    try:
        now = manifest_of(store[key], alignment, dim=there.columns[0].width)
    except (StructureError, KeyError):
        return f"aligned embeddings of {key}, which is not there or not whole"
    return "" if continues(there, now) else f"aligned embeddings of earlier values of {key}"


def embedding_rows(store: Store) -> list[dict[str, Any]]:
    """A row for `structure store ls` of each set: where it lies, rows, width, bytes, and its state."""
    rows = []
    for prefix in embedding_prefixes(store):
        try:
            there = FeatureSet.open(store.files, prefix)
            state = "stale" if why_stale(store, prefix) else there.state
            size, width = there.manifest.size, there.manifest.columns[0].width
            rows.append({"embeddings": prefix, "rows": len(there), "width": width, "bytes": size, "state": state})
        except (FileNotFoundError, DamageError):
            rows.append({"embeddings": prefix, "rows": 0, "width": 0, "bytes": 0, "state": "does not read"})
    return rows


def embedding_faults(store: Store) -> dict[str, list[str]]:
    """What is not as it was written in each set that is not stale, as sentences."""
    found: dict[str, list[str]] = {}
    for prefix in embedding_prefixes(store):
        why = why_stale(store, prefix)
        if why == UNREAD:
            found[prefix] = [f"{prefix}: {why}"]
        elif not why:
            try:
                faults = FeatureSet.open(store.files, prefix).verify()
                found[prefix] = [f"{prefix}: {fault.what}" for fault in faults]
            except DamageError as error:
                found[prefix] = [f"{prefix}: {error}"]
    return found
