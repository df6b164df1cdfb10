"""A folder that open_clip loads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from structure.pipeline.exports.export_format import ExportFormat, ExportSubject, Written

USAGE = """\
import open_clip
model, _, preprocess = open_clip.create_model_and_transforms("local-dir:.")
tokenizer = open_clip.get_tokenizer("local-dir:.")
model.eval()
print(model.encode_text(tokenizer(["a red square", "a cat"]), normalize=True).shape)"""


class OpenClipFormat(ExportFormat):
    about = 'open_clip: open_clip.create_model_and_transforms("local-dir:DIR")'
    contents: ClassVar[Mapping[str, str]] = {
        "open_clip_config.json": "both towers, the space, and how images are prepared",
        "open_clip_model.safetensors": "the weights of both encoders; the heads are the last projections",
        "tokenizer.json": "the tokenizer of the text tower",
        "tokenizer_config.json": "its settings",
    }

    def write(self, subject: ExportSubject, folder: Path) -> Written:
        from structure.pipeline.exports.open_clip_folder import write_open_clip

        return Written(
            write_open_clip(subject.aligner, folder),
            USAGE,
            ["Needs the package open_clip_torch alone. The embeddings are those of the aligner, as checked on export."],
        )
