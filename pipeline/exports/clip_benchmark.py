"""An aligned model inside the original `clip_benchmark` command line: the folder, the script, and what it registers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from structure.pipeline.aligners.aligner import Aligner, load_aligner
from structure.pipeline.exports.side import WHICH, ExportedSide, load_side
from structure.pipeline.shown_paths import name_beside, name_from

MODEL_TYPE = "structure"
SCRIPT, TRUST = "run.py", "--trust-remote-code"
_SCRIPT = '''"""clip_benchmark's own command line with the aligned model of this folder.

    pip install structure-align clip-benchmark
    python run.py eval --dataset wds/vtab/cifar10 --dataset_root 'data/wds_{dataset_cleaned}' --no_amp

All of its options work, and --trust-remote-code lets an encoder's own code run. Model, weights and type are filled in;
they appear in its JSON as "aligned" and the name of this folder. With NumPy 2.4 and newer clip-benchmark
1.6.2 fails in accuracy(): use an environment with numpy<2.4.
"""

import sys
from pathlib import Path

from structure.pipeline.exports.clip_benchmark import TRUST, arguments, register

if __name__ == "__main__":
    folder = Path(__file__).resolve().parent
    register(folder, trust_remote_code=TRUST in sys.argv)
    sys.argv[1:] = arguments(sys.argv[1:], folder)
    from clip_benchmark.cli import main

    main()
'''


def write_clip_benchmark(aligner: Aligner, folder: Path, *, trust_remote_code: bool = False) -> dict[str, Any]:
    """Write the aligner and a script that runs `clip_benchmark` with it. Any head, any layer and any encoder.

    The encoders themselves are not copied: their names are in the aligner's record, and they are loaded where the
    script runs, one in a folder by its path from this one. The code of an encoder that brings its own runs only where
    `--trust-remote-code` is said there too.
    """
    for which in WHICH:  # refuses now what would fail there
        load_side(aligner, which, trust_remote_code=trust_remote_code)
    _named(aligner, partial(name_beside, folder=folder)).save(folder)
    (folder / SCRIPT).write_text(_SCRIPT, encoding="utf-8")
    return {"run": f"python {folder / SCRIPT} eval --dataset NAME --dataset_root ROOT"}


def _named(aligner: Aligner, name: Callable[[str], str]) -> Aligner:
    """The aligner with other names of its encoders."""
    records = aligner.metadata["encoders"]
    return aligner.describe(
        encoders={which: {**record, "spec": name(str(record["spec"]))} for which, record in records.items()}
    )


def register(folder: str | Path, *, trust_remote_code: bool = False) -> None:
    """Make clip_benchmark know the model type `structure`, in place: it has no hook for models of others."""
    from clip_benchmark.models import MODEL_TYPES, TYPE2FUNC

    def load(model_name: str, pretrained: str, cache_dir: str | None, device: str) -> tuple[nn.Module, Any, Any]:
        aligner = _named(load_aligner(folder), partial(name_from, folder=folder))
        vision, text = (
            load_side(aligner, which, device=device, trust_remote_code=trust_remote_code) for which in WHICH
        )
        return AlignedTowers(vision, text, device), _Picture(vision), _Tokenizer(text)

    TYPE2FUNC[MODEL_TYPE] = load
    if MODEL_TYPE not in MODEL_TYPES:
        MODEL_TYPES.append(MODEL_TYPE)


def arguments(given: Sequence[str], folder: Path) -> list[str]:
    """The command line of `clip_benchmark`, with model, weights and type of this folder where it evaluates."""
    words = [word for word in given if word != TRUST]
    if not words or words[0] != "eval":
        return words
    return [*words, "--model_type", MODEL_TYPE, "--model", "aligned", "--pretrained", folder.name]


class AlignedTowers(nn.Module):
    """What clip_benchmark asks of a model: `encode_image(pixels)` and `encode_text(tokens)`, unit rows."""

    def __init__(self, vision: ExportedSide, text: ExportedSide, device: str) -> None:
        super().__init__()
        self.vision, self.text = vision, text
        for side in (vision, text):
            side.aligner.to(device)

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        """`(batch, 3, height, width)` -> `(batch, dim)`."""
        return self.vision.embed(list(pixels))

    def encode_text(self, texts: Sequence[Any]) -> torch.Tensor:
        """What the tokenizer made of `batch` texts -> `(batch, dim)`."""
        return self.text.embed(texts)


class Texts(list[Any]):
    """Token lists that answer to `.to(device)`; they are padded and moved where they are encoded."""

    def to(self, device: object) -> Texts:
        return self


class _Picture:
    def __init__(self, vision: ExportedSide) -> None:
        self.preprocess = vision.encoder.preprocess

    def __call__(self, picture: Any) -> Any:
        return self.preprocess(picture.convert("RGB"))


class _Tokenizer:
    def __init__(self, text: ExportedSide) -> None:
        self.preprocess = text.encoder.preprocess

    def __call__(self, texts: Sequence[str] | str) -> Texts:
        return Texts(self.preprocess(text) for text in ([texts] if isinstance(texts, str) else texts))
