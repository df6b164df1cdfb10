"""The heads with everything that proves the same answers on another machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from structure.pipeline.exports.export_format import ExportFormat, ExportSubject, Written


class BundleFormat(ExportFormat):
    about = "structure on another machine: structure open DIR gives the same answers there, or says what differs"
    takes_labels = True
    contents: ClassVar[Mapping[str, str]] = {
        "bundle.json": "versions, the texts of the probes, and the SHA-256 of the other files",
        "aligner.safetensors": "the weights of both heads",
        "aligner.json": "what the heads are, and the names and digests of the encoders",
        "probe.safetensors": "images and the embeddings that they and the texts must have",
        "requirements.txt": "the versions of the packages that it was made with",
        "classes.txt": "class names for structure label --classes",
        "labels.yaml": "their templates for structure label --prompts",
    }

    def write(self, subject: ExportSubject, folder: Path) -> Written:
        from structure.pipeline.exports.bundle import write_bundle

        usage = (
            "from PIL import Image\nfrom structure.pipeline import open_bundle\n"
            'model = open_bundle(".").model  # checks weights and answers\n'
            'images = model.encode_images([Image.new("RGB", (64, 64), "red")])\n'
            'print(model.similarity(images, model.encode_texts(["a red square", "a cat"])))'
        )
        notes = [
            "Needs the package structure-align. `structure open .` adds the aligner to a store, where `structure "
            "search --aligner NAME` and the other commands use it.",
            "The encoders are not in the folder: they are found by their names, and compared by the digests of their "
            "weights. An encoder that has another name on your machine is named with `--vision` or `--text`.",
        ]
        return Written(write_bundle(subject, folder), usage, notes)
