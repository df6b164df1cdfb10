"""A folder that sentence-transformers loads, and mteb with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from structure.pipeline.exports.export_format import ExportFormat, ExportSubject, Written


class SentenceTransformersFormat(ExportFormat):
    about = "sentence-transformers and mteb: SentenceTransformer(DIR) takes images and texts"
    contents: ClassVar[Mapping[str, str]] = {
        "modules.json": "the one module of the model, a Router",
        "router_config.json": "the route of each modality",
        "config_sentence_transformers.json": "prompts and similarity",
        "aligned_tower.py": "the code of a route that sentence-transformers has no modules for",
        "*_AlignedTower/encoder/*": "the encoder: weights, and how its inputs are prepared",
        "*_AlignedTower/*": "which layers are read, and the head",
        "*_Transformer/*": "the encoder: weights, how its inputs are prepared, which layer is read",
        "*_Pooling/*": "the pooling of the layer",
        "*_Dense/*": "the head",
        "*_Normalize/*": "unit length",
    }

    def write(self, subject: ExportSubject, folder: Path) -> Written:
        from structure.pipeline.exports.sentence_folder import write_sentence_folder

        done = write_sentence_folder(subject, folder)
        notes = [
            "Needs the package sentence-transformers 6 (with transformers, and timm for a timm encoder); nothing is "
            "downloaded. `model.encode` takes images or texts, one kind a call.",
            *(f"The {which} side runs the code in `aligned_tower.py`: {why}." for which, why in done.own_code.items()),
            "A text that looks like the path of an image, such as `cat.jpg`, is taken for an image. Pass "
            '`modality="text"` with texts of that kind.',
        ]
        if "vision" not in done.own_code:
            notes.append(
                "Give images in RGB and upright: the modules of sentence-transformers know nothing of transparency "
                "and of the orientation in EXIF, which `AlignedModel.encode_images` puts on white and turns."
            )
        usage = (
            "from PIL import Image\nfrom sentence_transformers import SentenceTransformer\n"
            f"model = {done.load.format(folder='.')}\n"
            'images = model.encode([Image.new("RGB", (64, 64), "red")])\n'
            'print(model.similarity(images, model.encode(["a red square", "a cat"])))'
        )
        facts = {
            "loads_with": done.load.format(folder=folder),
            "own_code": dict(done.own_code),
            "largest_difference": dict(done.largest_difference),
        }
        return Written(facts, usage, notes)
