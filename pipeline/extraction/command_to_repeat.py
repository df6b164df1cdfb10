"""The command that extracts a feature set again, or more of it, as its manifest tells."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from structure.store import FeatureSet


def command_to_repeat(features: FeatureSet, *, tokens: Sequence[str] = (), append: bool = False) -> str:
    """`structure extract ...` with the options that made the set; with `tokens` of more layers, or to `append`.

    Imported features have no encoder here: for those it is `structure import`, with their file to be filled in.
    """
    manifest, provenance = features.manifest, features.manifest.provenance or {}
    if not provenance.get("spec"):
        return (
            f"structure import FILE --model {shlex.quote(manifest.encoder)} --modality {features.modality} "
            f"--dataset {shlex.quote(manifest.dataset)} --split {shlex.quote(manifest.split)}"
        )
    extraction, encoder = manifest.identity["extraction"], manifest.identity["encoder"]
    split, limit = manifest.split, None
    part = re.fullmatch(r"(.+)\.first(\d+)", split)
    if part:
        split, limit = part[1], part[2]
    captions = manifest.captions or "all"
    options = {
        "model": provenance["spec"],
        "as": provenance.get("as"),
        "revision": encoder.get("revision"),
        "dataset": provenance.get("dataset_spec") or manifest.dataset,
        "split": split,
        "limit": limit,
        "layers": ",".join(extraction["layers"]),
        "pool": ",".join(extraction["pooling"]),
        "dtype": None if extraction["dtype"] == "auto" else extraction["dtype"],
        "captions": captions if manifest.rows_of == "captions" and captions != 1 else None,
        "views": manifest.views if manifest.views > 1 else None,
        "tokens": ",".join(dict.fromkeys([*tokens, *features.token_layers])),
    }
    said = [f"--{name} {shlex.quote(str(value))}" for name, value in options.items() if value]
    return " ".join(["structure extract", *said, *(["--append"] if append else [])])
