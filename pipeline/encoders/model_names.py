"""How models are named: an alias, or library:model with a place for weights and a tower."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qsl

from structure.pipeline.encoders.catalogue import catalogue
from structure.pipeline.encoders.device_placement import FIELDS as PLACES
from structure.pipeline.encoders.device_placement import WHOLE, Placement, read_placement
from structure.pipeline.encoders.image_preprocessing import AS_STATED, FIELDS, Framing, read_framing
from structure.store.errors import StructureError, UsageError, unknown

LIBRARIES = ("hf", "timm", "open_clip", "bundled")
TOWERS = ("visual", "text")
_FORMS = (
    "hf:NAME, hf:/folder, timm:NAME, timm:NAME@/folder, open_clip:ARCH/PRETRAINED#visual, "
    "open_clip:local-dir:/folder#text, bundled:scenes-vit"
)


@dataclass(frozen=True)
class Spec:
    """A parsed model name.

    `model`: repository, folder (hf), architecture (timm, open_clip), `local-dir` (open_clip) or bundled name.
    `weights`: place (timm), tag or folder (open_clip), else "". `tower`: "visual", "text" or "". `alias`: as typed.
    `framing`: how pictures are framed, where it is not the model's own way. `placement`: how weights are held.
    """

    library: str
    model: str
    weights: str = ""
    tower: str = ""
    alias: str = ""
    framing: Framing = AS_STATED
    placement: Placement = WHOLE

    @property
    def name(self) -> str:
        """Safe as a folder name: the alias, or what tells the model apart, with the tower, the framing and the bits
        where one was picked."""
        return f"{self._stem}{self.framing.suffix}{self.placement.suffix}"

    @property
    def _stem(self) -> str:
        if self.alias:
            return self.alias
        if self.library == "hf" and self.folder is not None:
            stem = self.folder.resolve().name
        elif self.library == "open_clip" and self.model == "local-dir":
            stem = Path(self.weights).expanduser().resolve().name
        elif self.library == "open_clip":
            stem = f"{self.model}/{Path(self.weights).stem if Path(self.weights).is_absolute() else self.weights}"
        else:
            stem = self.model
        return safe(f"{stem}/{self.tower}" if self.tower else stem)

    @property
    def folder(self) -> Path | None:
        """The local folder of an `hf:` spec; None where it names a hub repository."""
        path = Path(self.model).expanduser()
        return path if path.is_dir() or self.model.startswith(("/", ".", "~")) else None

    @property
    def source(self) -> str:
        """Library and model, independent of where a folder lies on this machine."""
        tower = f"#{self.tower}" if self.tower else ""
        if self.library == "hf":
            return f"hf:{self.model if self.folder is None else self.folder.resolve().name}{tower}"
        if self.library == "timm":
            return f"timm:{self.model}" + (f"@{Path(self.weights).name}" if self.weights else "")
        if self.library == "open_clip":
            local = self.model == "local-dir"
            return f"open_clip:{self.model}{':' if local else '/'}{Path(self.weights).name}{tower}"
        return f"{self.library}:{self.model}"

    def __str__(self) -> str:
        joint = {"timm": "@", "open_clip": ":" if self.model == "local-dir" else "/"}.get(self.library, "")
        tail = f"{joint}{self.weights}" if self.weights else ""
        asked = "&".join(str(part) for part in (self.framing, self.placement) if part)
        whole = f"{self.library}:{self.model}{tail}" + (f"#{self.tower}" if self.tower else "")
        return f"{whole}?{asked}" if asked else whole


def parse_spec(text: str) -> Spec:
    """What a user typed as a `Spec`; an alias is looked up, and `alias#text` picks another tower of it.

    `?image_size=N&crop_pct=P` at the end frames pictures in another way than the model's own, `?bits=4&device_map=auto`
    says how the weights of a large model are held. Raises `UsageError` for a form that does not exist,
    `StructureError` with the nearest names for an unknown alias.
    """
    plain, mark, asked = text.partition("?")
    if mark:
        given = dict(parse_qsl(asked, keep_blank_values=True) or [(asked, "")])
        for name in given:
            if name not in (*FIELDS, *PLACES):
                raise UsageError(f"{text!r}: {unknown('option of a model name', name, (*FIELDS, *PLACES))}")
        framing, placement = read_framing(given, spec=text), read_placement(given, spec=text)
        return replace(parse_spec(plain), framing=framing, placement=placement)
    body, _, tower = text.partition("#")
    if tower and tower not in TOWERS:
        raise UsageError(f"{text!r}: #{tower} is no tower. Write {body}#visual or {body}#text.")
    library, colon, rest = body.partition(":")
    if not colon:
        known = catalogue()
        if body not in known:
            raise unknown("model", body, known, hint=f"An alias (`structure models` lists them), or one of {_FORMS}.")
        parsed = parse_spec(known[body].spec)
        alias = body if not tower or tower == parsed.tower else safe(f"{body}/{tower}")
        return Spec(parsed.library, parsed.model, parsed.weights, tower or parsed.tower, alias)
    if library not in LIBRARIES or not rest:
        raise UsageError(f"{text!r} is no model name. Write an alias (`structure models`), or one of {_FORMS}.")
    if library == "timm":
        if tower:
            raise UsageError(f"{text!r}: a timm model has no towers. Write {body}.")
        model, _, weights = rest.partition("@")
        return Spec(library, model, weights)
    if library == "open_clip":
        if rest.startswith("local-dir:"):
            return Spec(library, "local-dir", rest.removeprefix("local-dir:"), tower)
        model, slash, weights = rest.partition("/")
        if not slash or not weights:
            raise UsageError(
                f"{text!r} names no weights. Write open_clip:{model}/PRETRAINED#visual, as in laion2b_s34b_b79k."
            )
        return Spec(library, model, weights, tower)
    if library == "hf" and not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", rest) and Spec(library, rest).folder is None:
        raise StructureError(f"{text!r} is neither a folder nor a hub repository (owner/name).")
    return Spec(library, rest, "", tower)


def safe(name: str) -> str:
    """`name` as a folder name: `/` becomes `--`, anything but letters, digits, `.`, `_` and `-` becomes `-`."""
    return re.sub(r"[^\w.-]+", "-", name.strip("/").replace("/", "--"), flags=re.ASCII).lstrip(".-") or "model"
