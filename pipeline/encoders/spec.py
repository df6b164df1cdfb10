"""A parsed model name."""

from __future__ import annotations

import re
from dataclasses import dataclass

from structure.pipeline.encoders.device_placement import WHOLE, Placement
from structure.pipeline.encoders.image_preprocessing import AS_STATED, ImagePreprocessing
from structure.pipeline.encoders.text_prompt import CHECKPOINTS_OWN, TextPrompt


@dataclass(frozen=True)
class Spec:
    """A parsed model name.

    `library`: the prefix, a key of `ENCODER_LIBRARIES`. `body`: what follows it, without tower and options; the library
    divides it into `model` (repository, folder, architecture) and `weights` (folder, file or tag, else "").
    `tower`: "visual", "text" or "". `alias`: as typed, "" without one. `stem`: what tells the model apart in the name
    of its features, `identity`: the same independent of where a folder lies on this machine, each `model` where it is
    "". `in_order`: the file of weights has the tensors in the model's order, under names of its own.
    `image_preprocessing`, `placement` and `prompt`: what the options ask for in place of the model's own way; `frames`:
    how many frames of a video are read.
    """

    library: str
    body: str
    model: str
    weights: str = ""
    tower: str = ""
    alias: str = ""
    stem: str = ""
    identity: str = ""
    in_order: bool = False
    image_preprocessing: ImagePreprocessing = AS_STATED
    placement: Placement = WHOLE
    prompt: TextPrompt = CHECKPOINTS_OWN
    frames: int = 1

    @property
    def name(self) -> str:
        """Safe as a folder name: the alias, or what tells the model apart, with the tower, the image preprocessing and
        the bits where one was picked."""
        stem = self.alias or safe(f"{self.stem or self.model}/{self.tower}")
        frames = f"-{self.frames}-frames" if self.frames > 1 else ""
        return f"{stem}{self.image_preprocessing.suffix}{self.placement.suffix}{self.prompt.suffix}{frames}"

    @property
    def source(self) -> str:
        """Library, model and tower, independent of where a folder lies on this machine."""
        return f"{self.both_towers}{f'#{self.tower}' if self.tower else ''}"

    @property
    def both_towers(self) -> str:
        """`source` without a tower."""
        return f"{self.library}:{self.identity or self.model}"

    def __str__(self) -> str:
        frames = f"frames={self.frames}" if self.frames > 1 else ""
        parts = (self.image_preprocessing, self.placement, self.prompt, frames)
        options = "&".join(str(part) for part in parts if part)
        tower = f"#{self.tower}" if self.tower else ""
        return f"{self.library}:{self.body}{tower}{f'?{options}' if options else ''}"


def safe(name: str) -> str:
    """`name` as a folder name: `/` becomes `--`, anything but letters, digits, `.`, `_` and `-` becomes `-`."""
    return re.sub(r"[^\w.-]+", "-", name.strip("/").replace("/", "--"), flags=re.ASCII).lstrip(".-") or "model"
