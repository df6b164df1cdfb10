"""Readers of bundles, each file of one in turn, with the digests put right as a stranger would."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from structure.pipeline.aligners.aligner import Aligner
from structure.pipeline.aligners.aligner_runs import BUNDLE
from structure.pipeline.aligners.heads.kinds import make_head
from structure.pipeline.exports.bundle import FORMAT, PROBE, digest
from structure.pipeline.exports.bundle_reading import read_bundle

from .mutations import Reader


def readers(folder: Path) -> list[Reader]:
    """A good bundle, made below `folder`, and a reader for each of its files that is looked into."""
    torch.manual_seed(0)
    encoder = {"name": "x", "spec": "minilm", "modality": "text", "identity": {"weights": "0"}}
    encoder |= {"extraction": {"pooling": ["mean"]}}
    facts = {"layers": {"vision": "a", "text": "a"}, "encoders": {"vision": encoder, "text": encoder}}
    Aligner(make_head("linear", 4, 3), make_head("linear", 5, 3), "linear", facts).save(folder)
    rows = np.zeros((1, 3), np.float32)
    probes = {"image.0": np.zeros((2, 2, 3), np.uint8), "embeddings.vision": rows, "embeddings.text": rows + 1}
    save_file(probes, folder / PROBE)
    names = ["aligner.json", "aligner.safetensors", PROBE]
    record = {"format": FORMAT, "version": 1, "name": "x", "local": {"vision": False, "text": False}}
    record |= {"versions": {}, "texts": ["a"], "files": {name: digest(folder / name) for name in names}}
    (folder / BUNDLE).write_text(json.dumps(record))

    def whole(name: str) -> Callable[[Path], object]:
        def read(path: Path) -> object:
            copy = path.parent / "bundle"
            shutil.copytree(folder, copy, dirs_exist_ok=True)
            shutil.copyfile(path, copy / name)
            if name != BUNDLE:
                files = {**record["files"], name: digest(copy / name)}  # type: ignore[dict-item]
                (copy / BUNDLE).write_text(json.dumps({**record, "files": files}))
            return read_bundle(copy)

        return read

    deep = (b"[" * 100_000, b"7")
    return [
        Reader(BUNDLE, ".json", ((folder / BUNDLE).read_bytes(),), whole(BUNDLE), deep, document=True),
        Reader(
            "bundle's aligner",
            ".json",
            ((folder / "aligner.json").read_bytes(),),
            whole("aligner.json"),
            deep,
            document=True,
        ),
        Reader("probes", ".safetensors", ((folder / PROBE).read_bytes(),), whole(PROBE), (b"\xff" * 16,)),
    ]
