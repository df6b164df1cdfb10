"""A bundle: the heads, which encoders they stand on, versions, and probes that prove the same answers elsewhere.

The encoders' weights are not in it: their names and digests are. Nothing in it names a folder of the machine where it
was made, and a bundle of a stranger is read as numbers and JSON alone.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from structure.pipeline.aligners.aligner import Aligner
from structure.pipeline.aligners.aligner_runs import BUNDLE, RECORD, WEIGHTS
from structure.pipeline.encoders.model_names import parse_spec
from structure.pipeline.encoders.spec import Spec
from structure.pipeline.exports.export_format import ExportSubject, LabelPrompts
from structure.pipeline.exports.probes import PROBE_TEXTS, ours, probe_images
from structure.pipeline.exports.side import WHICH, load_side
from structure.pipeline.installed_package import NAME

FORMAT, VERSION = "structure-bundle", 1
PROBE, LOCK, LABELS, CLASSES = (
    "probe.safetensors",
    "requirements.txt",
    "labels.yaml",
    "classes.txt",
)
AGREEMENT = 1e-4
"""Largest difference of two embeddings (unit rows, float32) that counts as the same answer on another machine."""
PACKAGES = (NAME, "torch", "torchvision", "transformers", "tokenizers", "timm", "open_clip_torch", "numpy", "pillow")
"""What can move an embedding: their versions are on record."""


PATH_SIGNS = ("/", ".", "~")
"""How the path of a folder starts, in the name of a model."""


def write_bundle(subject: ExportSubject, folder: Path) -> dict[str, Any]:
    """Write the bundle. Both encoders are loaded to compute the probes. Raises as `load_side`."""
    from safetensors.numpy import save_file

    sides = {which: load_side(subject.aligner, which, trust_remote_code=subject.trust_remote_code) for which in WHICH}
    folder.mkdir(parents=True, exist_ok=True)
    aligner, local = portable(subject.aligner)
    aligner.save(folder)
    tensors = {f"image.{index}": np.asarray(image) for index, image in enumerate(probe_images())}
    save_file(tensors | {f"embeddings.{which}": ours(sides[which]) for which in WHICH}, folder / PROBE)
    _write_labels(subject.labels, folder)
    versions = installed_versions()
    pins = [f"{name}=={number.partition('+')[0]}" for name, number in versions.items() if name != "python"]
    (folder / LOCK).write_text("\n".join(pins) + "\n", encoding="utf-8")
    names = [path.name for path in folder.iterdir()]
    record = {
        "format": FORMAT,
        "version": VERSION,
        "name": subject.name,
        "local": local,
        "versions": versions,
        "texts": list(PROBE_TEXTS),
        "files": {name: digest(folder / name) for name in sorted(names)},
    }
    (folder / BUNDLE).write_text(json.dumps(record, indent=2, ensure_ascii=False), encoding="utf-8")
    records = aligner.metadata["encoders"]
    return {"encoders": {which: records[which]["spec"] for which in WHICH}, "probes": len(tensors) + len(PROBE_TEXTS)}


def portable(aligner: Aligner) -> tuple[Aligner, dict[str, bool]]:
    """The aligner with names of encoders that mean the same on any machine, and by side whether the encoder was a
    folder here: its last part alone is kept."""
    records = json.loads(json.dumps(aligner.metadata.get("encoders") or {}))
    local: dict[str, bool] = {}
    for which, record in records.items():
        if not record["spec"]:  # imported features
            continue
        parsed = parse_spec(record["spec"])
        local[which] = lies_in_a_folder(parsed)
        if local[which]:
            _, mark, options = str(record["spec"]).partition("?")
            record["spec"] = f"{parsed.source}{mark}{options}"
    return (aligner.describe(encoders=records) if records else aligner), local


def lies_in_a_folder(spec: Spec) -> bool:
    """Whether the name says where the model lies on this machine."""
    if spec.alias or spec.library == "bundled":
        return False
    parts = [part for part in (spec.model, spec.weights) if part]
    return any(part.startswith(PATH_SIGNS) or Path(part).expanduser().exists() for part in parts)


def installed_versions() -> dict[str, str]:
    """Python and the packages that can move an embedding, by name; those that are not installed are left out."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def digest(file: Path) -> str:
    """Hex SHA-256 of a file."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _write_labels(labels: LabelPrompts, folder: Path) -> None:
    """Class names one a line, and their templates as a prompt set: what `structure label` takes."""
    if labels.classes:
        (folder / CLASSES).write_text("\n".join(labels.classes) + "\n", encoding="utf-8")
    if labels.templates:
        content: Mapping[str, Any] = {
            "name": "bundle",
            "version": 1,
            "order": ["set", "dataset"],
            "templates": list(labels.templates),
        }
        (folder / LABELS).write_text(yaml.safe_dump(dict(content), allow_unicode=True), encoding="utf-8")


FILES = (WEIGHTS, RECORD, PROBE, LOCK, LABELS, CLASSES)
"""Every file of a bundle besides its record and its README."""
