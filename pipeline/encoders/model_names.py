"""How models are named: an alias, or library:model with a tower and options."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qsl

from structure.pipeline.encoders.catalogue import catalogue
from structure.pipeline.encoders.device_placement import PLACEMENT_OPTIONS, read_placement
from structure.pipeline.encoders.frames_option import FRAMES_OPTION, read_frames
from structure.pipeline.encoders.image_preprocessing import IMAGE_OPTIONS, read_image_preprocessing
from structure.pipeline.encoders.registry import ENCODER_LIBRARIES, library_of
from structure.pipeline.encoders.spec import Spec, safe
from structure.pipeline.encoders.text_prompt import PROMPT_OPTIONS, read_prompt
from structure.store.errors import UsageError, nearest, unknown

TOWERS = ("visual", "text")
OPTIONS = (*IMAGE_OPTIONS, *PLACEMENT_OPTIONS, *PROMPT_OPTIONS, FRAMES_OPTION)


def parse_spec(text: str) -> Spec:
    """What a user typed as a `Spec`; an alias is looked up, and `alias#text` picks another tower of it.

    `?image_size=N&crop_pct=P` at the end prepares images in another way than the model's own, `?bits=4&device_map=auto`
    says on which devices and in how many bits the weights of a large model are held, `?prompt=query` which of a text
    model's own prompts is put before every text, `?frames=8` how many frames of a video an image model reads. No
    library is imported.
    Raises `UsageError` for a form or option that does not exist, `StructureError` with the nearest names for an unknown
    alias.
    """
    plain, _, asked = text.partition("?")
    spec = _parse_plain(plain)
    if plain == text:
        return spec
    accepted = (*library_of(spec).options, FRAMES_OPTION)
    options = dict(parse_qsl(asked, keep_blank_values=True) or [(asked, "")])
    for name in options:
        if name not in OPTIONS:
            raise UsageError(f"{text!r}: {unknown('option of a model name', name, OPTIONS)}")
        if name not in accepted:
            allowed = f"only ?{' and ?'.join(accepted)}"
            raise UsageError(
                f"{text!r}: {name} means nothing here: {spec.library} models take {allowed}. Leave it out."
            )
    return replace(
        spec,
        image_preprocessing=read_image_preprocessing(options, spec=text),
        placement=read_placement(options, spec=text),
        prompt=read_prompt(options, spec=text),
        frames=read_frames(options, spec=text),
    )


def _parse_plain(text: str) -> Spec:
    body, _, tower = text.partition("#")
    if tower and tower not in TOWERS:
        raise UsageError(f"{text!r}: #{tower} is no tower. Write {body}#visual or {body}#text.")
    library, colon, rest = body.partition(":")
    if not colon:
        known = catalogue()
        if body not in known:
            hint = f"An alias (`structure models` lists them), or one of {model_forms()}."
            raise unknown("model", body, known, hint=hint)
        spec = _parse_plain(known[body].spec)
        alias = body if not tower or tower == spec.tower else safe(f"{body}/{tower}")
        return replace(spec, tower=tower or spec.tower, alias=alias)
    if library not in ENCODER_LIBRARIES or not rest:
        close = nearest(library, ENCODER_LIBRARIES, most=1)
        offer = f" Did you mean {close[0]}:{rest or 'NAME'}?" if close else ""
        raise UsageError(
            f"{text!r} is no model name.{offer} Write an alias (`structure models`), or one of {model_forms()}."
        )
    return ENCODER_LIBRARIES[library]().parse(Spec(library, rest, rest, tower=tower))


def model_forms() -> str:
    """How the models of each library are written, for messages and help."""
    return ", ".join(ENCODER_LIBRARIES[name].form for name in ENCODER_LIBRARIES)
