"""One sample of a webdataset tar from its members: image, captions or label, and what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from structure.pipeline.datasets.captions_text import split_captions
from structure.pipeline.datasets.image_files import SUFFIXES
from structure.pipeline.datasets.tar_index import Group, Member, read_member
from structure.pipeline.datasets.text_cells import texts_in
from structure.pipeline.datasets.text_lines import lines_of

IMAGE_ENDINGS = ("webp", "png", "jpg", "jpeg", *sorted(s[1:] for s in SUFFIXES - {".webp", ".png", ".jpg", ".jpeg"}))
"""In the order in which CLIP_benchmark looks for them, then the others."""

_LABELS = {"classification": "cls", "multilabel": "npy"}


@dataclass(frozen=True)
class Sample:
    """One key of a shard. `problem` says what is wrong with it, "" for a whole one; `other_caption`: its .json has
    another caption than its .txt, which is read."""

    id: str
    shard: int
    image: Member | None
    captions: tuple[str, ...] = ()
    label: int | tuple[int, ...] | None = None
    problem: str = ""
    other_caption: bool = False


def kind_of(groups: Iterable[Group]) -> str:
    """What the samples are for: captions where any has a .txt, or nothing else; else labels."""
    endings = {ending for group in groups for ending in group.members}
    if "txt" in endings or not endings & {"cls", "npy"}:
        return "retrieval"
    return "multilabel" if "npy" in endings else "classification"


def read_sample(item: str, shard: int, file: Path, group: Group, *, kind: str, escaped: bool) -> Sample:
    r"""The sample `item` of the tar `file`. `escaped`: a .txt is as CLIP_benchmark writes it, newlines as `\n`.

    Whatever is wrong with it is its `problem`: one bad sample is no reason to refuse the others.
    """
    ending = next((ending for ending in IMAGE_ENDINGS if ending in group.members), None)
    image = group.members[ending] if ending else None
    if image is None:
        return Sample(item, shard, None, problem=f"{file}, {_no_image(group)}")
    if group.repeated:
        name = group.repeated[0].name
        return Sample(item, shard, image, problem=f"{file}, member {name} is there twice; one of them would be lost")
    if kind == "retrieval":
        return _captioned(item, shard, file, group, image, escaped)
    member = group.members.get(_LABELS[kind])
    if member is None:
        there = ", ".join(sorted(group.members))
        return Sample(item, shard, image, problem=f"{file}, {group.key} has no .{_LABELS[kind]}, only {there}")
    data = read_member(file, member, item=item)
    try:
        if kind == "multilabel":
            vector = np.load(BytesIO(data), allow_pickle=False)
            return Sample(item, shard, image, label=tuple(np.flatnonzero(vector.reshape(-1) > 0).tolist()))
        return Sample(item, shard, image, label=int(data.decode("ascii")))
    except (ValueError, EOFError, OSError, MemoryError, TypeError) as error:
        form = {"classification": "a whole number", "multilabel": "a NumPy vector of 0 and 1"}[kind]
        problem = f"{file}, member {member.name} is not {form}: {data[:40]!r} ({error})"
        return Sample(item, shard, image, problem=problem)


def _captioned(item: str, shard: int, file: Path, group: Group, image: Member, escaped: bool) -> Sample:
    text, record = group.members.get("txt"), group.members.get("json")
    told = _recorded(file, record, item) if record is not None and not escaped else ()
    if text is None and not told:
        there = ", ".join(sorted(group.members))
        lacking = "no .txt, and no caption in its .json" if record is not None else f"no .txt, only {there}"
        return Sample(item, shard, image, problem=f"{file}, {group.key} has {lacking}")
    if text is None:
        return Sample(item, shard, image, told)
    try:
        content = read_member(file, text, item=item).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if told:
            return Sample(item, shard, image, told)
        problem = f"{file}, member {text.name} is not captions in UTF-8: {error.object[:40]!r} ({error})"
        return Sample(item, shard, image, problem=problem)
    if told and _is_cut(content, told):
        return Sample(item, shard, image, told)
    if escaped:
        captions = split_captions(content)
    else:
        captions = tuple(filter(None, (line.strip() for line in lines_of(content))))
    problem = "" if captions and all(captions) else f"{file}, member {text.name} has an empty caption"
    return Sample(item, shard, image, captions, problem=problem, other_caption=bool(told) and told[0] not in captions)


def _recorded(file: Path, member: Member, item: str) -> tuple[str, ...]:
    """The captions that the sample's .json holds; none where it is no JSON object or holds none."""
    try:
        record = json.loads(read_member(file, member, item=item))
    except (ValueError, RecursionError):
        return ()
    cells = (record.get(name) for name in ("caption", "captions", "text")) if isinstance(record, dict) else ()
    texts = [text for text in texts_in(next(filter(None, cells), None)) if isinstance(text, str)]
    return tuple(filter(None, (text.strip() for text in texts)))


def _is_cut(content: str, told: tuple[str, ...]) -> bool:
    """Whether a text file holds the beginning, or all, of the one caption of the .json, cut into lines or at one."""
    return len(told) == 1 and "".join(told[0].split()).startswith("".join(content.split()))


def _no_image(group: Group) -> str:
    dotted = [name for name in group.members if "." in name and name.rpartition(".")[2] in IMAGE_ENDINGS]
    if dotted:
        key = group.key.rpartition("/")[2]
        better = f"{key}.{dotted[0]}".rpartition(".")
        return (
            f"{group.key} has no image of its own and {len(dotted)} whose names go on after a dot ({key}.{dotted[0]}, "
            "...): in a webdataset the key of a sample ends at the first dot of its file name, so these are one "
            f"sample. Write the tar anew with names such as {better[0].replace('.', '_')}.{better[2]}"
        )
    endings = ", ".join(f".{ending}" for ending in IMAGE_ENDINGS[:4])
    return f"{group.key} has no image ({endings}), only {', '.join(sorted(group.members))}"
