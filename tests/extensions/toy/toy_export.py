"""A format of export of another package: the weights of both heads in one NumPy file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from structure.pipeline.exports.export_format import ExportFormat, ExportSubject, Written


class NpzFormat(ExportFormat):
    about = "NumPy: the weights of both heads"
    contents: ClassVar[Mapping[str, str]] = {"heads.npz": "the weights, `vision.*` and `text.*`"}

    def write(self, subject: ExportSubject, folder: Path) -> Written:
        import numpy as np

        aligner = subject.aligner
        sides = {"vision": aligner.vision, "text": aligner.text}
        weights = {
            f"{side}.{name}": np.asarray(v) for side, head in sides.items() for name, v in head.state_dict().items()
        }
        folder.mkdir(parents=True)
        np.savez(folder / "heads.npz", allow_pickle=False, **weights)
        return Written({"arrays": len(weights)}, 'import numpy as np\nprint(np.load("heads.npz").files)')
